"""Plain references for the methods: one example at a time, unpadded, float64, sharing no code with the library."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distill_core.models.tokenization import Inputs
from distill_core.objectives import ForwardPass, Objective
from distill_core.training.trainer import student_pass

MASK = 4  # id of the tiny tokenizer's [MASK]
DRAWN = 7  # seed of the random numbers a method takes


@dataclass
class Passed:
    """One example through a BERT, layer by layer: E, the state after each layer, the logits; all with a graph."""

    x: Tensor
    states: list[Tensor]
    logits: Tensor


def passed(network: nn.Module, inputs: Inputs, row: int) -> Passed:
    """Run one row of a batch through a BERT by hand, without its padding."""
    length = int(inputs.attention_mask[row].sum())
    ids, types = inputs.input_ids[row : row + 1, :length], inputs.token_type_ids[row : row + 1, :length]
    x = network.bert.embeddings(input_ids=ids, token_type_ids=types)
    if not x.requires_grad:
        x.requires_grad_()
    states: list[Tensor] = []
    return Passed(x, states, rest(network, x, states))


def rest(network: nn.Module, x: Tensor, states: list[Tensor] | None = None) -> Tensor:
    """Return the logits of one unpadded example from its embeddings; the state after each layer goes into `states`."""
    hidden = x
    for layer in network.bert.encoder.layer:
        hidden = layer(hidden)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if states is not None:
            states.append(hidden)
    logits: Tensor = network.classifier(torch.tanh(network.bert.pooler.dense(hidden[:, 0])))[0]
    return logits


def losses_and_gradients(
    method: Objective, student: nn.Module, teacher: nn.Module, inputs: Inputs, labels: Tensor
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Return the library's terms by name, and the gradient of each by parameter."""
    targets = method.targets(student_pass(teacher, inputs, labels, MASK, needs=method.needs))
    forward: ForwardPass = student_pass(student, inputs, labels, MASK, needs=method.needs)
    terms = method.losses(forward, targets, torch.Generator().manual_seed(DRAWN), method.counts(targets))
    return terms, {name: gradients_of(term, student) for name, term in terms.items()}


def gradients_of(loss: Tensor, network: nn.Module) -> dict[str, Tensor]:
    """Return the gradient of a loss by parameter, 0 where the loss does not depend on it."""
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


def assert_equal(
    method: Objective, student: nn.Module, teacher: nn.Module, inputs: Inputs, labels: Tensor, wanted: dict[str, Tensor]
) -> None:
    """Assert that each term equals the plain one, in value and in every parameter's gradient."""
    terms, gradients = losses_and_gradients(method, student, teacher, inputs, labels)
    assert terms.keys() == wanted.keys()
    for name, term in wanted.items():
        torch.testing.assert_close(terms[name], term, rtol=1e-9, atol=1e-14, msg=f"value of {name}")
        for parameter, gradient in gradients_of(term, student).items():
            torch.testing.assert_close(
                gradients[name][parameter], gradient, rtol=1e-6, atol=1e-12, msg=f"{name} at {parameter}"
            )


def confidence(one: Passed) -> Tensor:
    """Return the probability of the predicted class, by the softmax as it is written; a regression's score."""
    if len(one.logits) == 1:
        return one.logits[0]
    return torch.stack([torch.exp(z) / sum(torch.exp(other) for other in one.logits) for z in one.logits]).max()


def gkd_loss(student: nn.Module, teacher: nn.Module, inputs: Inputs) -> Tensor:
    """Return the GKD loss of a batch by its formula, token by token."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for row in range(len(inputs.input_ids)):
        theirs, ours = passed(teacher, inputs, row), passed(student, inputs, row)
        (wanted,) = torch.autograd.grad(confidence(theirs), theirs.x)
        (own,) = torch.autograd.grad(confidence(ours), ours.x, create_graph=True)
        for token in range(wanted.shape[1]):
            t, s = wanted[0, token], own[0, token]
            total = total + ((t / t.norm() - s / s.norm()) ** 2).sum()
            count += 1
    return total / count
