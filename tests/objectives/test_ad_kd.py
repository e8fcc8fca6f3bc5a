"""AD-KD against a plain reference written from the formula: loops, float64, sharing no code."""

import pytest
import torch
from torch import Tensor, nn

from distill_core.encoding import Inputs
from distill_core.errors import ConfigError
from distill_core.models import make_trainable
from distill_core.objectives import AdKd, ForwardPass, make_method
from distill_core.trainer import student_pass
from tests.tiny import random_inputs, tiny_network


def reference_map(
    network: nn.Module, inputs: Inputs, row: int, label: float, view: int | None, top_k: int | None
) -> Tensor:
    """Return one example's normalised map with its graph, computed alone and unpadded."""
    length = int(inputs.attention_mask[row].sum())
    ids, types = inputs.input_ids[row : row + 1, :length], inputs.token_type_ids[row : row + 1, :length]
    x = network.bert.embeddings(input_ids=ids, token_type_ids=types)
    if not x.requires_grad:
        x.requires_grad_()
    hidden = x
    for layer in network.bert.encoder.layer:
        hidden = layer(hidden)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    logits = network.classifier(torch.tanh(network.bert.pooler.dense(hidden[:, 0])))[0]
    if len(logits) == 1:
        loss = (logits[0] - label) ** 2
    else:
        log_p = logits - torch.log(torch.exp(logits).sum())
        loss = -log_p[int(label) if view is None else view]
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    norms = []
    for token in range(length):
        product = gradient[0, token] * x[0, token]
        if top_k is not None:
            product = product[torch.argsort(product.abs(), descending=True)[:top_k]]
        norms.append((product * product).sum().sqrt())
    stacked = torch.stack(norms)
    return stacked / (stacked * stacked).sum().sqrt()


def reference_loss(
    student: nn.Module, teacher: nn.Module, inputs: Inputs, labels: Tensor, classes: int, top_k: int | None
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for view in [None] if classes < 3 else range(classes):
        squares, count = torch.zeros((), dtype=torch.float64), 0
        for row in range(len(labels)):
            wanted = reference_map(teacher, inputs, row, float(labels[row]), view, top_k).detach()
            own = reference_map(student, inputs, row, float(labels[row]), view, None)
            squares = squares + ((wanted - own) ** 2).sum()
            count += int((wanted != 0).sum())
        total = total + squares / count
    return total


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("frozen_embeddings", [True, False])
def test_value_and_gradients_equal_the_formula(
    classes: int, pair: bool, top_k: int | None, frozen_embeddings: bool
) -> None:
    teacher = tiny_network(layers=2, classes=classes, seed=1).double()
    student = tiny_network(layers=1, classes=classes, seed=2).double()
    if frozen_embeddings:
        make_trainable(student)
    inputs, labels = random_inputs((9, 5, 7), pair=pair), torch.tensor([0, 1, classes - 1])
    if classes == 1:
        labels = torch.tensor([3.8, 0.0, 4.6])
    method = AdKd(top_k=top_k)

    signal = method.signal(student_pass(teacher, inputs, labels))
    loss = method.losses(student_pass(student, inputs, labels), signal)["ad_kd"]
    loss.backward()
    ours = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()
    expected = reference_loss(student, teacher, inputs, labels, classes, top_k)
    expected.backward()
    theirs = {name: p.grad for name, p in student.named_parameters() if p.grad is not None}

    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    assert any("query" in name for name in ours)
    assert any("word_embeddings" in name for name in ours) is not frozen_embeddings
    for name in theirs:  # a map does not depend on the classifier's bias: no gradient and zero are the same
        ours.setdefault(name, torch.zeros_like(theirs[name]))
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-12, msg=name)


def test_a_student_equal_to_its_teacher_has_no_loss() -> None:
    network, inputs, labels = tiny_network(), random_inputs((6, 4)), torch.tensor([1, 0])
    forward = student_pass(network, inputs, labels)
    method = AdKd()
    assert method.losses(forward, method.signal(student_pass(network, inputs, labels)))["ad_kd"].item() == 0.0


def test_a_linear_toy_by_hand() -> None:
    """Two tokens of width 1, logit difference 3·e₁ + 4·e₂: maps are (3, 4)/5 for E = 1; a flat student's (1, 1)/√2."""
    labels, mask = torch.tensor([1]), torch.ones(1, 2, dtype=torch.bool)

    def forward(first: float, second: float) -> ForwardPass:
        x = torch.ones(1, 2, 1, dtype=torch.float64, requires_grad=True)
        score = first * x[:, 0, 0] + second * x[:, 1, 0]
        return ForwardPass(x, torch.stack([torch.zeros_like(score), score], dim=1), mask, labels)

    method = AdKd()
    signal = method.signal(forward(3.0, 4.0))
    torch.testing.assert_close(signal["maps"], torch.tensor([[[0.6], [0.8]]], dtype=torch.float64))
    loss = method.losses(forward(1.0, 1.0), signal)["ad_kd"]
    by_hand = ((0.6 - 0.5**0.5) ** 2 + (0.8 - 0.5**0.5) ** 2) / 2
    assert loss.item() == pytest.approx(by_hand, abs=1e-12)


def test_padding_is_left_out() -> None:
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
        signal = method.signal(student_pass(teacher, inputs, labels))
        losses.append(method.losses(student_pass(student, inputs, labels), signal)["ad_kd"])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-9)


def test_make_method_names_the_valid_keys() -> None:
    assert make_method("kd") is None
    assert make_method("ad_kd", top_k=3) == AdKd(top_k=3)
    with pytest.raises(ConfigError, match="PKD matches layers"):
        make_method("pkd")
    with pytest.raises(ConfigError, match="kd, ad_kd, gkd, gkd_cls, pkd"):
        make_method("magic")
