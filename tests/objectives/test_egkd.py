"""EGKD against plain references written from the formulas: loops, float64, sharing no code."""

import math

import pytest
import torch
from torch import Tensor, nn

from distill_core.errors import ConfigError
from distill_core.models.encoder import make_trainable
from distill_core.models.tokenization import Inputs
from distill_core.objectives import Objective
from distill_core.objectives.egkd_feature_selection import EgkdFeatureSelection
from distill_core.objectives.egkd_gradient import EgkdGradient
from distill_core.objectives.egkd_perturbation import EgkdPerturbation
from distill_core.training.trainer import student_pass
from tests.support.reference_losses import DRAWN, MASK, assert_equal, losses_and_gradients, passed, rest
from tests.support.tiny import random_inputs, tiny_network

METHODS = (EgkdGradient(), EgkdPerturbation(erasures=3, each_step=2), EgkdFeatureSelection(share=0.4))
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.key)


def answer(logits: Tensor) -> Tensor:
    """Return the softmax as it is written; a regression's score."""
    if len(logits) == 1:
        return logits
    return torch.stack([torch.exp(z) / sum(torch.exp(other) for other in logits) for z in logits])


def answer_without(network: nn.Module, inputs: Inputs, row: int, erased: list[int]) -> Tensor:
    """Return the answer for one example in which [MASK] was written over some tokens."""
    length = int(inputs.attention_mask[row].sum())
    ids, types = inputs.input_ids[row : row + 1, :length].clone(), inputs.token_type_ids[row : row + 1, :length]
    for place in erased:
        ids[0, place] = MASK
    return answer(rest(network, network.bert.embeddings(input_ids=ids, token_type_ids=types)))


def signed_scores(network: nn.Module, inputs: Inputs, row: int, predicted: int, *, graph: bool) -> Tensor:
    one = passed(network, inputs, row)
    (gradient,) = torch.autograd.grad(answer(one.logits)[predicted], one.x, create_graph=graph)
    scores = torch.stack([(gradient[0, token] * one.x[0, token]).sum() for token in range(one.x.shape[1])])
    return scores / (scores * scores).sum().sqrt()


def predicted_by(teacher: nn.Module, inputs: Inputs, row: int) -> int:
    return int(passed(teacher, inputs, row).logits.argmax())


def plain_gradient(student: nn.Module, teacher: nn.Module, inputs: Inputs) -> Tensor:
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(inputs.input_ids)):
        predicted = predicted_by(teacher, inputs, row)
        wanted = signed_scores(teacher, inputs, row, predicted, graph=False)
        own = signed_scores(student, inputs, row, predicted, graph=True)
        total, count = total + ((wanted - own) ** 2).sum(), count + len(wanted)
    return total / count


def change(network: nn.Module, inputs: Inputs, row: int, erased: list[int]) -> Tensor:
    return answer_without(network, inputs, row, erased) - answer(passed(network, inputs, row).logits)


def plain_perturbation(student: nn.Module, teacher: nn.Module, inputs: Inputs, method: EgkdPerturbation) -> Tensor:
    sets = method.targets(student_pass(teacher, inputs, torch.zeros(len(inputs.input_ids)), MASK))["erased"]
    chosen = torch.randperm(3, generator=torch.Generator().manual_seed(DRAWN))[:2].tolist()
    gaps = []
    for row in range(len(inputs.input_ids)):
        for at in chosen:
            erased = [place for place in range(sets.shape[1]) if sets[row, place, at]]
            wanted = change(teacher, inputs, row, erased).detach()
            gaps.append(((wanted - change(student, inputs, row, erased)) ** 2).sum())
    return torch.stack(gaps).sum() / len(gaps)


def plain_selection(student: nn.Module, teacher: nn.Module, inputs: Inputs) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(inputs.input_ids)):
        scores = signed_scores(teacher, inputs, row, predicted_by(teacher, inputs, row), graph=False).detach().abs()
        content = [place for place in range(len(scores)) if not inputs.special[row, place]]
        ranked = sorted(content, key=lambda place: -float(scores[place]))
        rationale = ranked[: math.ceil(0.4 * len(content))]
        others = [place for place in content if place not in rationale]
        alone = [answer_without(network, inputs, row, others) for network in (teacher, student)]
        drops = [change(network, inputs, row, rationale) for network in (teacher, student)]
        for wanted, own in (alone, drops):
            total = total + ((wanted.detach() - own) ** 2).sum()
    return total / len(inputs.input_ids)


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("lengths", [(8, 5), (6, 6)])
def test_values_and_gradients_equal_the_formulas(classes: int, pair: bool, lengths: tuple[int, ...]) -> None:
    teacher = tiny_network(layers=2, classes=classes, seed=1).double().requires_grad_(True)
    student = make_trainable(tiny_network(layers=1, classes=classes, seed=2).double())
    inputs, labels = random_inputs(lengths, pair=pair), torch.zeros(len(lengths), dtype=torch.long)
    gradient, perturbation, selection = METHODS
    for method, wanted in (
        (gradient, plain_gradient(student, teacher, inputs)),
        (perturbation, plain_perturbation(student, teacher, inputs, perturbation)),
        (selection, plain_selection(student, teacher, inputs)),
    ):
        assert wanted > 0
        assert_equal(method, student, teacher, inputs, labels, {method.key: wanted})


@each_method
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_student_equal_to_its_teacher_has_no_loss(method: Objective, classes: int) -> None:
    network, inputs, labels = tiny_network(classes=classes), random_inputs((6, 4)), torch.tensor([1, 0])
    terms, _ = losses_and_gradients(method, network.requires_grad_(True), network, inputs, labels)
    assert terms[method.key].item() == 0.0


def test_erasures_depend_only_on_the_example() -> None:
    network, wide = tiny_network(), random_inputs((30, 12, 20))
    method = EgkdPerturbation(erasures=8)
    together = method.targets(student_pass(network, wide, torch.zeros(3), MASK))["erased"]
    for row, length in enumerate((30, 12, 20)):
        inputs = wide.select(torch.tensor([row]))
        alone = method.targets(student_pass(network, inputs, torch.zeros(1), MASK))["erased"]
        assert torch.equal(alone[0], together[row, :length])
    assert not together[wide.special].any()
    assert together.any(dim=1).all()  # one token at least, each time
    assert len({tuple(one.tolist()) for one in together[0].T}) == 8
    assert 0.15 < together[0].float().mean() < 0.4
    shortest = method.targets(student_pass(network, random_inputs((3,)), torch.zeros(1), MASK))["erased"]
    assert shortest[0, 1].all()


def test_each_step_uses_erasures_of_its_own() -> None:
    teacher, student, inputs = tiny_network(seed=1), tiny_network(seed=2), random_inputs((9, 7))
    method = EgkdPerturbation(erasures=8, each_step=1)
    targets = method.targets(student_pass(teacher, inputs, torch.zeros(2), MASK))
    forward = student_pass(student, inputs, torch.zeros(2), MASK)
    draws, counts = [torch.Generator().manual_seed(step) for step in range(20)], method.counts(targets)
    found = {method.losses(forward, targets, draw, counts)[method.key].item() for draw in draws}
    assert len(found) > 4
    assert method.cache_key == EgkdPerturbation(erasures=8, each_step=3).cache_key  # the teacher's part is the same


def test_a_tokenizer_without_a_mask_is_refused() -> None:
    network, inputs = tiny_network(), random_inputs((6,))
    with pytest.raises(ConfigError, match=r"has no \[MASK\] token, which this method needs"):
        EgkdPerturbation().targets(student_pass(network, inputs, torch.zeros(1)))
