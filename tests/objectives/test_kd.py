"""Plain KD: values computed by hand, and the formula."""

import math

import pytest
import torch

from distill_core.objectives.kd import SoftTargets, label_loss, soft_cross_entropy, soft_divergence


def test_soft_targets_by_hand() -> None:
    teacher = torch.tensor([[0.0, math.log(3.0)]])  # p = (1/4, 3/4) at τ = 1
    student = torch.tensor([[0.0, 0.0]])  # p = (1/2, 1/2)
    assert soft_cross_entropy(student, teacher, 1.0).item() == pytest.approx(math.log(2.0))
    own = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert soft_cross_entropy(teacher, teacher, 1.0).item() == pytest.approx(own, abs=1e-6)


def test_temperature_softens_both_sides_and_has_no_square_factor() -> None:
    teacher, student = torch.tensor([[0.0, 4.0]]), torch.tensor([[2.0, 0.0]])
    softened = 1 / (1 + math.exp(-2.0))
    expected = -((1 - softened) * math.log(1 / (1 + math.exp(-1.0))) + softened * math.log(1 / (1 + math.exp(1.0))))
    assert soft_cross_entropy(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_equals_the_formula(classes: int) -> None:
    torch.manual_seed(0)
    student = torch.randn(4, classes, dtype=torch.float64, requires_grad=True)
    teacher, temperature = torch.randn(4, classes, dtype=torch.float64), 3.0
    soft_cross_entropy(student, teacher, temperature).backward()
    for row in range(4):
        p_teacher = torch.exp(teacher[row] / temperature) / torch.exp(teacher[row] / temperature).sum()
        p_student = torch.exp(student[row] / temperature) / torch.exp(student[row] / temperature).sum()
        torch.testing.assert_close(student.grad[row], ((p_student - p_teacher) / temperature / 4).detach())


def test_label_loss_is_the_mean_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    assert label_loss(logits, torch.tensor([0, 1])).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_a_regression_has_squared_errors() -> None:
    student, teacher = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [2.0]])
    assert label_loss(student, torch.tensor([3.0, 4.5])).item() == pytest.approx((4.0 + 0.25) / 2)
    assert soft_cross_entropy(student, teacher, 2.0).item() == pytest.approx((0.25 + 1.0) / 2)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_divergence_equals_the_formula_in_value_and_gradient(classes: int) -> None:
    torch.manual_seed(0)
    student = torch.randn(4, classes, dtype=torch.float64, requires_grad=True)
    teacher, temperature = torch.randn(4, classes, dtype=torch.float64), 3.0
    total = torch.zeros((), dtype=torch.float64)
    for row in range(4):
        t = [torch.exp(z / temperature) for z in teacher[row]]
        s = [torch.exp(z / temperature) for z in student[row]]
        for one, other in zip(t, s, strict=True):
            total = total + one / sum(t) * torch.log((one / sum(t)) / (other / sum(s)))
    expected = total * temperature**2 / (4 * classes)
    found = soft_divergence(student, teacher, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)
    assert soft_divergence(teacher, teacher, temperature).item() == 0.0


def test_the_divergence_of_scores_does_not_depend_on_the_temperature() -> None:
    student, teacher = torch.tensor([[1.0], [4.0]]), torch.tensor([[2.0], [2.0]])
    assert soft_divergence(student, teacher, 2.0).item() == pytest.approx((1.0 + 4.0) / 2)


def test_an_annealed_temperature_falls_to_1_at_the_last_step() -> None:
    soft = SoftTargets(temperature=4.0, annealed=True)
    assert [soft.temperature_at(step, 4) for step in (1, 2, 3, 4)] == pytest.approx([4.0, 3.0, 2.0, 1.0])
    assert soft.temperature_at(1, 1) == 4.0
    assert SoftTargets(temperature=4.0).temperature_at(4, 4) == 4.0
    student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert soft.loss(student, teacher, 4, 4).item() == soft_cross_entropy(student, teacher, 1.0).item()
    kl = SoftTargets(temperature=4.0, form="kl")
    assert kl.loss(student, teacher, 2, 4).item() == soft_divergence(student, teacher, 4.0).item()
