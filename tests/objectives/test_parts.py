"""The terms of a batch's parts add up to the batch's, in value and gradient, whatever their lengths."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.models.encoder import make_trainable
from distill_core.models.tokenization import Inputs
from distill_core.objectives import Loss, Part, make_loss
from distill_core.objectives.base import NOTHING
from distill_core.training.trainer import student_pass
from tests.support.reference_losses import MASK, gradients_of
from tests.support.tiny import random_inputs, tiny_network


def summed(loss: Loss, student: nn.Module, teacher: nn.Module, parts: list[tuple[Inputs, Tensor]]) -> Tensor:
    """Return the weighted sum of all terms of a batch that is computed in these parts."""
    needs = NOTHING if loss.objective is None else loss.objective.needs
    known = [student_pass(teacher, *part, MASK, needs=needs) for part in parts]
    batch_targets = [{} if loss.objective is None else loss.objective.targets(one) for one in known]
    examples, counts = sum(len(labels) for _, labels in parts), loss.counts(batch_targets)
    total = torch.zeros((), dtype=torch.float64)
    for index, (part, one, targets) in enumerate(zip(parts, known, batch_targets, strict=True)):
        terms = loss.terms(
            student_pass(student, *part, MASK, needs=needs),
            one.logits.detach(),
            targets,
            Part(1, 1, examples, counts, index),
        )
        total = total + sum(raw * weight for raw, weight in terms.values())
    return total


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("method", DISTILLATION_METHODS)
def test_parts_add_up(method: str, classes: int) -> None:
    settings: dict[str, Any] = {"method": method, "attribution_steps": 2}
    for form in ("cross_entropy", "kl"):
        loss = make_loss(RunConfig(**settings, kd_form=form), 2, 3)
        teacher = tiny_network(layers=3, classes=classes, seed=1).double()
        student = make_trainable(tiny_network(layers=2, classes=classes, seed=2).double())
        inputs, labels = random_inputs((9, 4, 7, 3, 6)), torch.tensor([1, 0, classes - 1, 0, 1])
        labels = labels.double() if classes == 1 else labels.clamp(max=classes - 1)
        rows = [torch.tensor([0, 2]), torch.tensor([1]), torch.tensor([3, 4])]  # each padded to its own longest
        whole = summed(loss, student, teacher, [(inputs, labels)])
        parted = summed(loss, student, teacher, [(inputs.select(some), labels[some]) for some in rows])
        torch.testing.assert_close(parted, whole, rtol=1e-10, atol=1e-12)
        wanted = gradients_of(whole, student)
        for name, gradient in gradients_of(parted, student).items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-7, atol=1e-10, msg=name)
