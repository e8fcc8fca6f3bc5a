"""Tiny random classifiers of every encoder family, with tokenizers, as open models, folders and batches."""

from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from distill_core.data.tasks import get_task
from distill_core.models.encoder import LoadedModel, save_model
from distill_core.models.tokenization import Encoded, Inputs, collate, encode
from tests.support.tiny_families import FAMILIES

TEXTS: tuple[tuple[str, str | None], ...] = (
    ("the film is good", None),
    ("a bad , boring story ! not funny", "the actings was slowly awful"),
    ("great", None),
    ("loves the music and hates the plot", None),
    ("fast and bright", "dull"),
)


def family_network(
    name: str, *, layers: int = 2, classes: int = 3, dropout: float = 0.0, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """Return a random classifier in eval mode with weights large enough that maps differ between tokens."""
    config = FAMILIES[name].config(layers, classes, dropout, **settings)
    torch.manual_seed(seed)
    network = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for label, parameter in network.named_parameters():
            if "layernorm" not in label.lower().replace("_", ""):
                parameter.normal_(std=0.3)
    return cast(PreTrainedModel, network.eval())


def family_model(name: str, **settings: Any) -> LoadedModel:
    """Return a network of the family with its tokenizer as an open model."""
    network = family_network(name, **settings).requires_grad_(False)
    labels = tuple(f"class {index}" for index in range(network.config.num_labels))
    return LoadedModel(name, Path("nowhere"), network, FAMILIES[name].tokenizer_kind.tokenizer(), labels, name)


def sentiment_folder(path: Path, name: str, seed: int = 0) -> Path:
    """Save a network of the family with SST-2's classes and its tokenizer as a plain folder, and return the folder."""
    network = family_network(name, classes=2, seed=seed)
    network.config.id2label = dict(enumerate(get_task("sst2").labels))
    network.config.label2id = {label: index for index, label in network.config.id2label.items()}
    save_model(network, FAMILIES[name].tokenizer_kind.tokenizer(), path, {"task": "sst2"})
    return path


def family_rows(model: LoadedModel) -> list[Encoded]:
    """Return single texts and pairs of different lengths, some with words of several pieces."""
    return [encode(model.tokenizer, *pair) for pair in TEXTS]


def family_inputs(model: LoadedModel) -> Inputs:
    """Return the same as one padded batch."""
    return collate(family_rows(model), model.pad_id)
