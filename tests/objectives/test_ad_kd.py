"""AD-KD against a plain reference written from the formula: loops, float64, sharing no code."""

import copy

import pytest
import torch
from torch import Tensor, nn

from distill_core.config.run_config import RunConfig
from distill_core.models.encoder import make_trainable
from distill_core.models.tokenization import Inputs
from distill_core.objectives import ForwardPass, make_objective
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.gkd_cls import GkdCls
from distill_core.training.trainer import student_pass
from tests.support.reference_losses import assert_equal, gradients_of, passed, rest
from tests.support.tiny import random_inputs, tiny_network

DRAW = torch.Generator()


def view_of(logits: Tensor, label: float, view: int | None) -> Tensor:
    """Return the paper's view of one example: the task's loss, or −log p of one class of more than two."""
    if len(logits) == 1:
        return (logits[0] - label) ** 2
    return -(logits - torch.log(torch.exp(logits).sum()))[int(label) if view is None else view]


def reference_map(
    network: nn.Module, inputs: Inputs, row: int, label: float, view: int | None, method: AdKd, *, cut: bool
) -> Tensor:
    """Return one example's normalised map with its graph, computed alone, unpadded, step by step of the path."""
    whole = passed(network, inputs, row)
    gradient = torch.zeros_like(whole.x)
    for step in range(1, method.steps + 1):
        at = step / method.steps * whole.x
        at = at if at.requires_grad else at.requires_grad_()
        (found,) = torch.autograd.grad(view_of(rest(network, at), label, view), at, create_graph=True)
        gradient = gradient + found / method.steps
    norms = []
    for token in range(whole.x.shape[1]):
        product = gradient[0, token] * whole.x[0, token]
        if cut and method.top_k is not None:
            product = product[torch.argsort(product.abs(), descending=True)[: method.top_k]]
        norms.append((product * product).sum().sqrt())
    stacked = torch.stack(norms)
    return stacked / (stacked.sum() if method.norm == "l1" else (stacked * stacked).sum().sqrt())


def apart(one: Tensor, other: Tensor, distance: str) -> Tensor:
    """Return the distance of two numbers; smooth L1 changes from a parabola to a line at 1."""
    gap = abs(one - other)
    if distance == "l1":
        return gap
    return gap**2 if distance == "l2" else 0.5 * gap**2 if gap < 1 else gap - 0.5


def reference_loss(
    student: nn.Module, teacher: nn.Module, inputs: Inputs, labels: Tensor, classes: int, method: AdKd
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for view in [None] if classes < 3 else range(classes):
        gaps, count = torch.zeros((), dtype=torch.float64), 0
        for row in range(len(labels)):
            wanted = reference_map(teacher, inputs, row, float(labels[row]), view, method, cut=True).detach()
            own = reference_map(student, inputs, row, float(labels[row]), view, method, cut=False)
            for one, other in zip(wanted, own, strict=True):
                gaps = gaps + apart(one, other, method.distance)
            count += int((wanted != 0).sum())
        total = total + gaps / count
    return total


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize(
    "method",
    [
        AdKd(),
        AdKd(top_k=5),
        AdKd(steps=3),
        AdKd(steps=2, top_k=5, norm="l1", distance="l1"),
        AdKd(norm="l1", distance="smooth_l1"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("frozen_embeddings", [True, False])
def test_value_and_gradients_equal_the_formula(classes: int, pair: bool, method: AdKd, frozen_embeddings: bool) -> None:
    teacher = tiny_network(layers=2, classes=classes, seed=1).double().requires_grad_(True)
    student = tiny_network(layers=1, classes=classes, seed=2).double().requires_grad_(True)
    if frozen_embeddings:
        make_trainable(student)
    inputs, labels = random_inputs((9, 5, 7), pair=pair), torch.tensor([0, 1, classes - 1])
    if classes == 1:
        labels = torch.tensor([3.8, 0.0, 4.6], dtype=torch.float64)
    expected = reference_loss(student, teacher, inputs, labels, classes, method)
    assert_equal(method, student, teacher, inputs, labels, {"ad_kd": expected})
    moved = {name for name, gradient in gradients_of(expected, student).items() if gradient.abs().max() > 0}
    assert any("query" in name for name in moved)
    assert any("word_embeddings" in name for name in moved) is not frozen_embeddings


@pytest.mark.parametrize("steps", [1, 3])
def test_a_student_equal_to_its_teacher_has_no_loss(steps: int) -> None:
    network, inputs, labels = tiny_network(), random_inputs((6, 4)), torch.tensor([1, 0])
    method, forward = AdKd(steps=steps), student_pass(network, inputs, labels)
    targets = method.targets(student_pass(network, inputs, labels))
    assert method.losses(forward, targets, DRAW, method.counts(targets))["ad_kd"].item() == 0.0


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("steps", [2, 8])
@pytest.mark.parametrize("gap", [5.0, 29.0, 31.0, 50.0, 58.0, 90.0, 160.0])
def test_a_certain_teacher_still_has_a_map_in_float32(classes: int, steps: int, gap: float) -> None:
    """The gradients of −log p are about e^−gap; what the map is scaled from must not have been lost before."""
    network, inputs, labels = (
        tiny_network(classes=classes).eval(),
        random_inputs((9, 6)),
        torch.zeros(2, dtype=torch.long),
    )
    with torch.no_grad():
        network.classifier.bias[0] = gap  # sure of the first class at every point of the path
    both = (network, copy.deepcopy(network).double())
    maps = [AdKd(steps=steps).targets(student_pass(one, inputs, labels))["maps"] for one in both]
    assert (maps[0].dtype, maps[1].dtype) == (torch.float32, torch.float64)
    assert maps[1].isfinite().all()
    assert maps[1].abs().sum() > 0
    torch.testing.assert_close(maps[0].double(), maps[1], rtol=2e-3, atol=2e-4)


def test_a_linear_toy_by_hand() -> None:
    """Two tokens of width 1, logit difference 3·e₁ + 4·e₂: maps are (3, 4)/5 for E = 1; a flat student's (1, 1)/√2."""
    labels, inputs = torch.tensor([1]), random_inputs((2,))

    def unasked(*_: Tensor) -> Tensor:
        raise AssertionError("one step needs no other point")

    def forward(first: float, second: float) -> ForwardPass:
        x = torch.ones(1, 2, 1, dtype=torch.float64, requires_grad=True)
        score = first * x[:, 0, 0] + second * x[:, 1, 0]
        return ForwardPass(
            x, torch.stack([torch.zeros_like(score), score], dim=1), inputs, labels, (), unasked, unasked
        )

    method = AdKd()
    targets = method.targets(forward(3.0, 4.0))
    torch.testing.assert_close(targets["maps"], torch.tensor([[[0.6], [0.8]]], dtype=torch.float64))
    loss = method.losses(forward(1.0, 1.0), targets, DRAW, method.counts(targets))["ad_kd"]
    by_hand = ((0.6 - 0.5**0.5) ** 2 + (0.8 - 0.5**0.5) ** 2) / 2
    assert loss.item() == pytest.approx(by_hand, abs=1e-12)


def test_padding_is_ignored() -> None:
    student, teacher = tiny_network(seed=1), tiny_network(seed=2)
    method, labels = AdKd(), torch.tensor([1])
    short, wide = random_inputs((5,)), random_inputs((5, 12)).select(torch.tensor([0, 1]))
    wide = Inputs(wide.input_ids[:1], wide.attention_mask[:1], wide.token_type_ids[:1], wide.special[:1])
    losses = []
    for inputs in (
        short,
        Inputs(*(t.clone() for t in (wide.input_ids, wide.attention_mask, wide.token_type_ids, wide.special))),
    ):
        inputs.input_ids[0, :5] = short.input_ids[0]
        targets = method.targets(student_pass(teacher, inputs, labels))
        losses.append(
            method.losses(student_pass(student, inputs, labels), targets, DRAW, method.counts(targets))["ad_kd"]
        )
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-9)


def test_the_objective_is_built_from_the_settings_of_a_run() -> None:
    config = RunConfig(top_k=3, attribution_steps=4, map_norm="l1", map_distance="smooth_l1")
    assert make_objective(config, 3, 6) == AdKd(3, 4, "l1", "smooth_l1")
    assert make_objective(RunConfig(method="kd"), 3, 6) is None
    assert make_objective(RunConfig(method="gkd_cls", matching="last"), 3, 6) == GkdCls(((1, 4), (2, 5)))
    assert AdKd().cache_key == AdKd(distance="l1").cache_key  # the teacher's maps are the same
    assert len({repr(one) for one in (AdKd(), AdKd(steps=2), AdKd(norm="l1"), AdKd(top_k=2))}) == 4
