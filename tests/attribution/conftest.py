"""Models for attribution tests: tiny random BERTs, networks with known answers, and one trained on a known rule."""

import pytest
import torch
from torch import nn

from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Encoded, Inputs, collate, encode
from tests.support.tiny import tiny_network
from tests.support.toy_models import as_model, verdicts


@pytest.fixture
def model() -> LoadedModel:
    """Return a tiny random BERT with three classes."""
    return as_model(tiny_network(classes=3).requires_grad_(False), 3)


@pytest.fixture
def rows(model: LoadedModel) -> list[Encoded]:
    """Return single texts and pairs of different lengths, some with words of several pieces."""
    texts = [
        ("the film is good", None),
        ("a bad , boring story ! not funny", "the actings was slowly awful"),
        ("great", None),
        ("loves the music and hates the plot", None),
        ("fast and bright", "dull"),
    ]
    return [encode(model.tokenizer, *pair) for pair in texts]


@pytest.fixture
def inputs(model: LoadedModel, rows: list[Encoded]) -> Inputs:
    """Return the texts as one padded batch."""
    return collate(rows, model.pad_id)


@pytest.fixture(scope="session")
def judge() -> LoadedModel:
    """Return a tiny BERT trained to tell one praising word from one scathing word among neutral ones."""
    network = tiny_network(width=32, seed=3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "LayerNorm" not in name:
                parameter.mul_(0.25)
    generator = torch.Generator().manual_seed(0)
    network.requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(150):
        ids, labels, _ = verdicts(32, generator)
        loss = nn.functional.cross_entropy(logits(network, ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.requires_grad_(False)
    return as_model(network)
