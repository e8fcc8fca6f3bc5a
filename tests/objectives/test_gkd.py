"""GKD against a plain reference written from the formula: loops, float64, sharing no code."""

import pytest
import torch

from distill_core.models.encoder import make_trainable
from distill_core.models.tokenization import Inputs
from distill_core.objectives import ForwardPass
from distill_core.objectives.gkd import Gkd
from distill_core.objectives.views import log_odds
from distill_core.training.trainer import student_pass
from tests.support.reference_losses import assert_equal, gkd_loss, losses_and_gradients
from tests.support.tiny import random_inputs, tiny_network


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("lengths", [(9, 5, 7), (6, 6)])
def test_value_and_gradients_equal_the_formula(classes: int, pair: bool, lengths: tuple[int, ...]) -> None:
    teacher = tiny_network(layers=2, classes=classes, seed=1).double()
    student = make_trainable(tiny_network(layers=1, classes=classes, seed=2).double())
    inputs, labels = random_inputs(lengths, pair=pair), torch.zeros(len(lengths), dtype=torch.long)
    assert_equal(Gkd(), student, teacher, inputs, labels, {"gkd": gkd_loss(student, teacher, inputs)})


def test_a_student_equal_to_its_teacher_has_no_loss() -> None:
    network, inputs, labels = tiny_network(classes=3), random_inputs((6, 4)), torch.tensor([1, 0])
    terms, _ = losses_and_gradients(Gkd(), network.requires_grad_(True), network, inputs, labels)
    assert terms["gkd"].item() == 0.0


def test_opposite_directions_are_4_and_orthogonal_ones_2() -> None:
    targets = {"gradient": torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])}  # the last is padding
    assert Gkd().counts(targets)["gkd"].item() == 2
    x = torch.zeros(1, 3, 2, requires_grad=True)
    inputs = Inputs(torch.ones(1, 3), torch.tensor([[1, 1, 0]]), None, torch.zeros(1, 3, dtype=torch.bool))
    against = torch.tensor([[[-5.0, 0.0], [3.0, 0.0], [7.0, 7.0]]])  # its own gradient at padding does not count
    forward = ForwardPass(x, (against * x).sum(dim=(1, 2))[:, None], inputs, torch.zeros(1), (), lambda p: p, lambda: x)
    loss = Gkd().losses(forward, targets, torch.Generator(), Gkd().counts(targets))["gkd"]
    assert loss.item() == pytest.approx((4.0 + 2.0) / 2)


@pytest.mark.parametrize("sure", [1e2, 1e4])
def test_a_certain_teacher_still_has_a_gradient_direction(sure: float) -> None:
    """At p = 1 − 1e-40 the gradient of p is 0 in float32; that of the log-odds is not."""
    teacher, inputs, labels = tiny_network(classes=3, seed=1), random_inputs((6,)), torch.tensor([1])
    with torch.no_grad():
        teacher.classifier.weight.mul_(sure)
    found = Gkd().targets(student_pass(teacher, inputs, labels))["gradient"]
    exact = Gkd().targets(student_pass(teacher.double(), inputs, labels))["gradient"]
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(exact.norm(dim=-1), torch.ones(1, 6, dtype=torch.float64))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_log_odds_by_the_definition(classes: int) -> None:
    logits, index = torch.randn(4, classes, dtype=torch.float64), torch.arange(4) % classes
    p = torch.softmax(logits, dim=1).gather(1, index[:, None])[:, 0]
    torch.testing.assert_close(log_odds(logits, index), torch.log(p / (1 - p)))
