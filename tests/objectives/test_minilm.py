"""MiniLM against a plain reference written from the formula: loops, float64, sharing no code."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from distill_core.config.layer_mapping import relation_heads, relation_layer
from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, ModelError
from distill_core.models.encoder import make_trainable
from distill_core.models.layers import LayerRecord
from distill_core.models.tokenization import Inputs
from distill_core.objectives import ForwardPass, make_objective
from distill_core.objectives.base import PROJECTIONS
from distill_core.objectives.minilm import MiniLm
from distill_core.training.trainer import student_pass
from tests.support.reference_losses import MASK, assert_equal, losses_and_gradients, passed
from tests.support.tiny import random_inputs, tiny_network


def relations(network: nn.Module, inputs: Inputs, row: int, layer: int, heads: int) -> list[list[Tensor]]:
    """Return the relations of one unpadded example, by kind (Q, K, V) and head: (T, T) each, rows that sum to 1."""
    run = passed(network, inputs, row)
    hidden = ([run.x, *run.states][layer - 1])[0]  # (T, D)
    attention = network.bert.encoder.layer[layer - 1].attention.self
    found = []
    for linear in (attention.query, attention.key, attention.value):
        vectors = hidden @ linear.weight.T + linear.bias
        size = vectors.shape[1] // heads
        kind = []
        for head in range(heads):
            part = vectors[:, head * size : (head + 1) * size]
            rows = []
            for first in part:
                scores = [torch.exp((first * second).sum() / size**0.5) for second in part]
                rows.append(torch.stack([score / sum(scores) for score in scores]))
            kind.append(torch.stack(rows))
        found.append(kind)
    return found


def plain(student: nn.Module, teacher: nn.Module, inputs: Inputs, layer: int, heads: int, last: int) -> Tensor:
    total, positions = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(inputs.input_ids)):
        theirs = relations(teacher, inputs, row, layer, heads)
        ours = relations(student, inputs, row, last, heads)
        positions += len(theirs[0][0])
        for teacher_heads, student_heads in zip(theirs, ours, strict=True):
            for t, s in zip(teacher_heads, student_heads, strict=True):
                t = t.detach()
                total = total + (t * (torch.log(t) - torch.log(s))).sum()
    return total / (heads * positions)


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("lengths", [(7, 4), (5, 5)])
def test_value_and_gradients_equal_the_formula(classes: int, pair: bool, lengths: tuple[int, ...]) -> None:
    teacher = tiny_network(layers=4, classes=classes, seed=1, width=16).double().requires_grad_(True)
    student = make_trainable(tiny_network(layers=2, classes=classes, seed=2, width=8).double())  # narrower
    inputs, labels = random_inputs(lengths, pair=pair), torch.zeros(len(lengths), dtype=torch.long)
    expected = plain(student, teacher, inputs, layer=3, heads=4, last=2)
    assert expected > 0.01
    assert_equal(MiniLm(heads=4, layer=3), student, teacher, inputs, labels, {"minilm": expected})


def test_the_defaults_are_the_last_layer_and_as_many_heads_as_divide_the_width() -> None:
    teacher = tiny_network(layers=3, seed=1).double().requires_grad_(True)
    student = make_trainable(tiny_network(layers=2, seed=2).double())
    inputs, labels = random_inputs((6, 4)), torch.zeros(2, dtype=torch.long)
    expected = plain(student, teacher, inputs, layer=3, heads=8, last=2)
    assert_equal(MiniLm(), student, teacher, inputs, labels, {"minilm": expected})


def test_a_student_equal_to_its_teacher_has_no_loss() -> None:
    network, inputs, labels = tiny_network(layers=3), random_inputs((6, 4)), torch.tensor([1, 0])
    terms, _ = losses_and_gradients(MiniLm(), network.requires_grad_(True), network, inputs, labels)
    assert terms["minilm"].item() == 0.0


def test_student_and_teacher_may_differ_in_width_and_attention_heads() -> None:
    objective = make_objective(RunConfig(method="minilm"), 2, 3, widths=(24, 16))
    assert objective == MiniLm(heads=8)
    teacher = tiny_network(layers=3, seed=1, width=16).double().requires_grad_(True)
    student = make_trainable(tiny_network(layers=2, seed=2, width=24, heads=3).double())
    inputs, labels = random_inputs((6, 4)), torch.zeros(2, dtype=torch.long)
    expected = plain(student, teacher, inputs, layer=3, heads=8, last=2)
    assert_equal(objective, student, teacher, inputs, labels, {"minilm": expected})


def test_targets_are_zero_on_padding_and_probabilities_elsewhere() -> None:
    network, inputs = tiny_network(layers=2), random_inputs((6, 4))
    forward = student_pass(network, inputs, torch.tensor([1, 0]), MASK, needs=PROJECTIONS)
    targets = MiniLm(heads=2).targets(forward)
    found = targets["relations"]  # (B, 3, H, T, T)
    assert found.shape == (2, 3, 2, 6, 6)
    assert not found[1, :, :, 4:].any()
    assert not found[1, :, :, :, 4:].any()
    torch.testing.assert_close(found[1, :, :, :4, :4].exp().sum(dim=-1), torch.ones(3, 2, 4))
    assert MiniLm().counts(targets)["minilm"].item() == 10


def test_two_tokens_of_one_dimension() -> None:
    """The teacher's vectors are 0 and 1, the student's 0 and 0; the number is worked out by hand.

    Each teacher relation is (1/2, 1/2) and softmax(0, 1) = (0.268941, 0.731059), each student relation (1/2, 1/2).
    """

    def forward(*values: float) -> ForwardPass:
        vectors = torch.tensor(values)[None, :, None]
        inputs = Inputs(torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2), None, torch.zeros(1, 2, dtype=torch.bool))
        record = LayerRecord(vectors, query=vectors, key=vectors, value=vectors)
        return ForwardPass(
            vectors, torch.zeros(1, 2), inputs, torch.zeros(1), lambda _: vectors, lambda: vectors, (record,)
        )

    targets = MiniLm(heads=1).targets(forward(0.0, 1.0))
    counts = MiniLm(heads=1).counts(targets)
    (term,) = MiniLm(heads=1).losses(forward(0.0, 0.0), targets, torch.Generator(), counts).values()
    assert term.item() == pytest.approx(3 * 0.110944 / 2, abs=1e-5)


def test_a_missing_projection_is_refused() -> None:
    inputs = random_inputs((4,))
    forward = student_pass(tiny_network(layers=1), inputs, torch.tensor([1]), MASK, needs=PROJECTIONS)
    without_keys = replace(forward, layers=(replace(forward.layers[0], key=None),))
    with pytest.raises(ModelError, match="Layer 1 recorded no key projection; MiniLM needs query, key and value"):
        MiniLm(heads=2).targets(without_keys)


@pytest.mark.parametrize(
    ("widths", "heads", "expected"),
    [
        ([768], None, 12),
        ([1024], None, 8),
        ([384, 768], None, 12),
        ([128, 768], None, 8),  # 12 does not divide 128
        ([16], None, 8),
        ([384, 768], 48, 48),
    ],
)
def test_relation_heads(widths: list[int], heads: int | None, expected: int) -> None:
    assert relation_heads(widths, heads) == expected


@pytest.mark.parametrize(("layers", "layer", "expected"), [(6, None, 6), (12, None, 12), (24, None, 21), (24, 19, 19)])
def test_relation_layer(layers: int, layer: int | None, expected: int) -> None:
    assert relation_layer(layers, layer) == expected


def test_impossible_heads_and_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Relation heads \(relation_heads\) is 7; a width of 16 cannot be split"):
        relation_heads([16], 7)
    with pytest.raises(ConfigError, match="is 48; a width of 128 cannot be split into so many: use a divisor"):
        relation_heads([128, 768], 48)
    with pytest.raises(ConfigError, match=r"\(relation_layer\) is 9; the teacher has 6 layers: use 1 to 6"):
        relation_layer(6, 9)
