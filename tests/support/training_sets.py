"""A small training set of the tiny tokenizer's words."""

import torch

from distill_core.models.tokenization import Encoded, encode
from distill_core.training.trainer import TrainingSet
from tests.support.tiny import tiny_tokenizer

TEXTS = [
    "a good film",
    "the story is great, very funny",
    "awful acting",
    "boring and dull plot",
    "love the music",
    "hate",
]
LABELS = [1, 1, 0, 0, 1, 0]


def training_set(copies: int = 4) -> TrainingSet:
    """Return the six labelled texts, each several times."""
    rows: list[Encoded] = [encode(tiny_tokenizer(), text) for text in TEXTS] * copies
    return TrainingSet(rows, torch.tensor(LABELS * copies), pad_id=0, mask_id=4)
