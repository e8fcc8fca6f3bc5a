"""Gradient × input: known answers, equality with Captum, and its place beside integrated gradients."""

import torch
from captum.attr import LayerGradientXActivation

from distill_core.attribution import attribute
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Inputs
from tests.support.toy_models import FIRST, SECOND, squares, toy, toy_inputs


def test_squares_count_double() -> None:
    model = toy([1.0, 2.0], [3.0, -1.0], squares)
    found = attribute("gradient_x_input", model, toy_inputs([FIRST, SECOND]), torch.tensor([0]))
    assert found.scores.tolist() == [[10.0, 20.0]]  # 2 · (1 + 4), 2 · (9 + 1)


def test_a_linear_function_gives_its_terms_with_their_sign() -> None:
    model = toy([1.0, 2.0], [3.0, -5.0], squares)
    found = attribute("gradient_x_input", model, toy_inputs([FIRST, SECOND]), torch.tensor([1]))
    assert found.scores.tolist() == [[3.0, -2.0]]


def test_it_equals_captum(model: LoadedModel, inputs: Inputs) -> None:
    target = torch.arange(5) % 3

    def forward(ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        return logits(model.network, Inputs(ids, mask, types, inputs.special))

    model.network.base_model.embeddings.requires_grad_(True)  # Captum needs a graph at the layer
    theirs = LayerGradientXActivation(forward, model.network.base_model.embeddings).attribute(
        inputs.input_ids,
        target=target,
        additional_forward_args=(inputs.attention_mask, inputs.token_type_ids),
    )
    ours = attribute("gradient_x_input", model, inputs, target).scores
    torch.testing.assert_close(ours, (theirs.sum(dim=-1) * inputs.mask).detach(), rtol=1e-5, atol=1e-5)
