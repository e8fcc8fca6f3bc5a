"""The whole loss at a step: when the method's terms are computed, and which random numbers they use."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill_core.config.run_config import RunConfig
from distill_core.models.encoder import make_trainable
from distill_core.models.tokenization import Inputs
from distill_core.objectives import Loss, Objective, Part, make_loss
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.egkd_perturbation import EgkdPerturbation
from distill_core.training.trainer import student_pass
from tests.support.reference_losses import MASK
from tests.support.tiny import random_inputs, tiny_network

ERASING = RunConfig(method="egkd_perturbation", erasures=8, erasures_each_step=1)


def value(loss: Loss, part: Part, dropout: float = 0.0) -> Tensor | None:
    """Return the method's term for one batch, None where it is not computed."""
    student = make_trainable(tiny_network(seed=1, dropout=dropout))
    student.train(dropout > 0)
    inputs, labels = random_inputs((9, 7, 8)), torch.tensor([1, 0, 1])
    assert loss.objective is not None
    targets = loss.objective.targets(student_pass(tiny_network(seed=2), inputs, labels, MASK))
    torch.manual_seed(3)
    forward = student_pass(student, inputs, labels, MASK)
    teacher = tiny_network(seed=2)(inputs_embeds=None, input_ids=inputs.input_ids).logits.detach()
    whole = replace(part, counts=loss.counts([targets]))
    terms = loss.terms(forward, teacher, targets, whole)
    return terms[loss.objective.key][0].detach() if loss.objective.key in terms else None


def test_erasures_differ_by_step_and_seed() -> None:
    steps = [float(value(make_loss(ERASING, 2, 2), Part(step, 99, 3, {})) or 0.0) for step in range(1, 9)]
    seeds = [float(value(make_loss(replace(ERASING, seed=seed), 2, 2), Part(1, 99, 3, {})) or 0.0) for seed in range(8)]
    assert len(set(steps)) > 2
    assert len(set(seeds)) > 2
    assert float(value(make_loss(ERASING, 2, 2), Part(4, 99, 3, {})) or 0.0) == steps[3]


@pytest.mark.parametrize("every", [1, 3])
def test_the_methods_terms_are_computed_at_every_nth_step(every: int) -> None:
    loss = make_loss(replace(ERASING, method_every=every), 2, 2)
    there = [value(loss, Part(step, 99, 3, {})) is not None for step in range(1, 8)]
    assert there == [(step - 1) % every == 0 for step in range(1, 8)]


def test_each_part_of_a_batch_has_its_own_dropout() -> None:
    loss = make_loss(replace(ERASING, erasures_each_step=8), 2, 2)  # the erasures are the same then
    first, second = (value(loss, Part(1, 99, 3, {}, index), dropout=0.3) for index in (0, 1))
    assert first is not None
    assert second is not None
    assert first.item() != second.item()


@pytest.mark.parametrize("method", [AdKd(steps=2), EgkdPerturbation(4, 2)], ids=lambda method: method.key)
def test_extra_padding_does_not_change_the_loss(method: Objective) -> None:
    network, labels, whole = tiny_network(), torch.tensor([1]), random_inputs((5, 9))
    assert whole.token_type_ids is not None
    row = Inputs(whole.input_ids[:1], whole.attention_mask[:1], whole.token_type_ids[:1], whole.special[:1])
    assert row.input_ids.shape[1] == 9  # the first has 5 tokens
    both = (row, row.select(torch.tensor([0])))
    padded, tight = (method.targets(student_pass(network, one, labels, MASK)) for one in both)
    for name, values in tight.items():
        torch.testing.assert_close(padded[name][:, : values.shape[1]], values, rtol=1e-4, atol=1e-6)
