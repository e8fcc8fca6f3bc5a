"""PKD and GKD-CLS against plain references written from the formulas: loops, float64, sharing no code."""

import pytest
import torch
from torch import Tensor, nn

from distill_core.config.layer_mapping import layer_pairs
from distill_core.errors import ConfigError
from distill_core.models.encoder import make_trainable
from distill_core.models.tokenization import Inputs
from distill_core.objectives import Objective
from distill_core.objectives.gkd_cls import GkdCls
from distill_core.objectives.pkd import Pkd
from tests.support.reference_losses import assert_equal, confidence, gkd_loss, losses_and_gradients, passed
from tests.support.tiny import random_inputs, tiny_network

PAIRS = ((1, 2), (2, 3))  # of a student of 3 layers and a teacher of 5


def plain_pkd(student: nn.Module, teacher: nn.Module, inputs: Inputs) -> Tensor:
    squares = []
    for row in range(len(inputs.input_ids)):
        theirs, ours = passed(teacher, inputs, row), passed(student, inputs, row)
        for own, wanted in PAIRS:
            t, s = theirs.states[wanted - 1][0, 0].detach(), ours.states[own - 1][0, 0]
            squares += list((t / t.norm() - s / s.norm()) ** 2)
    return torch.stack(squares).sum() / len(squares)


def plain_cls(student: nn.Module, teacher: nn.Module, inputs: Inputs) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(inputs.input_ids)):
        theirs, ours = passed(teacher, inputs, row), passed(student, inputs, row)
        for own, wanted in PAIRS:
            (t,) = torch.autograd.grad(confidence(theirs), theirs.states[wanted - 1], retain_graph=True)
            (s,) = torch.autograd.grad(confidence(ours), ours.states[own - 1], create_graph=True)
            t, s = t[0, 0], s[0, 0]
            total = total + ((t / t.norm() - s / s.norm()) ** 2).sum()
    return total / len(inputs.input_ids)


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("lengths", [(7, 4), (5, 5)])
def test_values_and_gradients_equal_the_formulas(classes: int, pair: bool, lengths: tuple[int, ...]) -> None:
    teacher = tiny_network(layers=5, classes=classes, seed=1).double().requires_grad_(True)
    student = make_trainable(tiny_network(layers=3, classes=classes, seed=2).double())
    inputs, labels = random_inputs(lengths, pair=pair), torch.zeros(len(lengths), dtype=torch.long)
    states = plain_pkd(student, teacher, inputs)
    assert_equal(Pkd(PAIRS), student, teacher, inputs, labels, {"pkd": states})
    wanted = {
        "gkd": gkd_loss(student, teacher, inputs),
        "gkd_cls": plain_cls(student, teacher, inputs),
        "pkd": states,
    }
    assert_equal(GkdCls(PAIRS), student, teacher, inputs, labels, wanted)


@pytest.mark.parametrize("method", [Pkd(((1, 1), (2, 2))), GkdCls(((1, 1), (2, 2)))], ids=lambda method: method.key)
def test_a_student_equal_to_its_teacher_has_no_loss(method: Objective) -> None:
    network, inputs, labels = tiny_network(layers=3, classes=3), random_inputs((6, 4)), torch.tensor([1, 0])
    terms, _ = losses_and_gradients(method, network.requires_grad_(True), network, inputs, labels)
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(terms, 0.0)


@pytest.mark.parametrize(
    ("student", "teacher", "strategy", "wanted"),
    [
        (6, 12, "skip", [2, 4, 6, 8, 10]),
        (6, 12, "last", [7, 8, 9, 10, 11]),
        (3, 6, "skip", [2, 4]),
        (3, 6, "last", [4, 5]),
        (4, 6, "skip", [2, 3, 5]),
        (3, 3, "skip", [1, 2]),
        (6, 3, "skip", [1, 1, 2, 2, 2]),
    ],
)
def test_layers_are_matched_as_published(student: int, teacher: int, strategy: str, wanted: list[int]) -> None:
    assert layer_pairs(student, teacher, strategy) == tuple(enumerate(wanted, start=1))


@pytest.mark.parametrize(("student", "teacher", "strategy"), [(1, 6, "skip"), (3, 1, "skip"), (6, 3, "last")])
def test_depths_without_matching_layers_are_refused(student: int, teacher: int, strategy: str) -> None:
    with pytest.raises(ConfigError, match=f"A student of {student} layers has none that PKD-{strategy} can match"):
        layer_pairs(student, teacher, strategy)
