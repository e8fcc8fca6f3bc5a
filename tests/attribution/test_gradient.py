"""Gradient maps, and the gradient that training differentiates once more."""

import pytest
import torch
from captum.attr import Saliency

from distill_core.attribution import attribute
from distill_core.attribution.gradient import gradient_at_embeddings
from distill_core.errors import ConfigError
from distill_core.models.encoder import LoadedModel, embed, logits, logits_from_embeddings
from distill_core.models.tokenization import Inputs
from tests.support.tiny import random_inputs, tiny_network
from tests.support.toy_models import FIRST, SECOND, squares, toy, toy_inputs


def test_squares_have_twice_their_length_as_gradient() -> None:
    model = toy([3.0, 4.0], [0.0, -1.0], squares)
    found = attribute("gradient", model, toy_inputs([FIRST, SECOND]), torch.tensor([0]))
    assert found.scores.tolist() == [[10.0, 2.0]]  # 2 · 5, 2 · 1
    assert found.baseline is None
    assert found.gap is None


def test_log_probability_has_the_gradient_of_softmax() -> None:
    model = toy([1.0], [0.0], lambda x, mask: torch.stack([(x[:, :, 0] * mask).sum(1), 0 * x[:, 0, 0]], dim=1))
    found = attribute("gradient", model, toy_inputs([FIRST]), torch.tensor([0]), output="log_probability")
    assert found.scores.item() == pytest.approx(0.2689414)  # 1 − sigmoid(1)


def test_it_equals_captum(model: LoadedModel, inputs: Inputs) -> None:
    target = torch.arange(5) % 3
    engine = Saliency(
        lambda x, mask: logits_from_embeddings(model.network, x, Inputs(inputs.input_ids, mask, None, inputs.special))
    )
    x = embed(model.network, inputs).detach().requires_grad_()
    theirs = engine.attribute(x, target=target, abs=False, additional_forward_args=(inputs.attention_mask,))
    ours = attribute("gradient", model, inputs, target).scores
    torch.testing.assert_close(ours, theirs.norm(dim=-1) * inputs.mask, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("output", ["logit", "log_probability"])
def test_the_training_gradient_equals_autograd_by_hand(output: str) -> None:
    network, inputs = tiny_network(classes=3), random_inputs((4, 7), pair=True)
    target = torch.tensor([2, 0])
    x = embed(network, inputs).detach().requires_grad_()
    result = logits_from_embeddings(network, x, inputs)
    values = result if output == "logit" else result.log_softmax(dim=1)
    (by_hand,) = torch.autograd.grad(values[0, 2] + values[1, 0], x)
    found = gradient_at_embeddings(network, inputs, target, output=output)
    torch.testing.assert_close(found.gradient, by_hand)
    torch.testing.assert_close(found.logits, logits(network, inputs))
    assert not any(part.requires_grad for part in (found.gradient, found.embeddings, found.logits))
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_with_a_graph_a_loss_of_the_map_reaches_the_weights(frozen: bool) -> None:
    """Against finite differences: d loss / d one weight of the first layer and of the word embeddings."""
    network, inputs = tiny_network(layers=1).double(), random_inputs((5,))
    network.base_model.embeddings.requires_grad_(not frozen)
    target = torch.tensor([1])

    def loss() -> torch.Tensor:
        found = gradient_at_embeddings(network, inputs, target, create_graph=True)
        return (found.gradient * found.embeddings).norm(dim=-1).sum()

    loss().backward()
    word = int(inputs.input_ids[0, 1])
    probes = [(network.bert.encoder.layer[0].output.dense.weight, (0, 1))]
    if not frozen:
        probes.append((network.bert.embeddings.word_embeddings.weight, (word, 2)))
    for weight, place in probes:
        assert weight.grad is not None
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[place] += step
            ends.append(loss().item())
            with torch.no_grad():
                weight[place] -= step
        assert weight.grad[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown output 'odds'"):
        gradient_at_embeddings(tiny_network(), random_inputs((4,)), torch.tensor([0]), output="odds")
