"""The recorded attention weights of every family, compared with the network's own."""

import pytest
import torch

from distill_core.models.encoder import embed, logits_and_layers
from tests.support.tiny import random_inputs, tiny_network
from tests.support.tiny_architectures import FAMILIES, family_inputs, family_model


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("projections", [False, True])
def test_attention_weights_equal_the_networks_own(name: str, projections: bool) -> None:
    model = family_model(name, layers=3)
    inputs = family_inputs(model)
    embeddings = embed(model.network, inputs)
    logits, layers = logits_and_layers(model.network, embeddings, inputs, projections=projections, attentions=True)
    assert not any(module._forward_hooks for module in model.network.modules())
    types = {} if inputs.token_type_ids is None else {"token_type_ids": inputs.token_type_ids}
    plain = model.network(
        input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, output_attentions=True, **types
    )
    torch.testing.assert_close(logits, plain.logits, rtol=1e-5, atol=1e-5)
    assert len(layers) == len(plain.attentions) == 3
    for layer, wanted in zip(layers, plain.attentions, strict=True):
        torch.testing.assert_close(layer.attention, wanted, rtol=1e-5, atol=1e-5)
        assert (layer.query is not None) == projections


def test_attention_is_recorded_only_on_request() -> None:
    network, inputs = tiny_network(), random_inputs((5, 3))
    _, layers = logits_and_layers(network, embed(network, inputs), inputs)
    assert [(layer.query, layer.attention) for layer in layers] == [(None, None)] * 2
