"""Networks with known attributions, and sentences with one telling word."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import Inputs
from tests.support.tiny import WORDS, tiny_tokenizer

FIRST, SECOND = 5, 6  # ids of the two content tokens of the toy's vocabulary
TOY_CONFIG = SimpleNamespace(model_type="bert")  # the toy's embedding block has the name that BERT's has


def as_model(network: Any, classes: int = 2) -> LoadedModel:
    """Wrap a network as an open model with the tiny tokenizer."""
    labels = tuple(f"class {index}" for index in range(classes))
    return LoadedModel("tiny", Path("nowhere"), cast(PreTrainedModel, network), tiny_tokenizer(), labels, "tiny")


class _Table(nn.Module):
    """An embedding block that looks tokens up and adds nothing."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(vectors)

    def forward(
        self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        del token_type_ids
        return self.vectors[input_ids] if input_ids is not None else cast(Tensor, inputs_embeds)


class _Body(nn.Module):
    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.config = TOY_CONFIG
        self.embeddings = _Table(vectors)

    def forward(self, **keywords: Tensor | None) -> Tensor:
        return cast(Tensor, self.embeddings(**keywords))


class Toy(nn.Module):
    """A network that is a given function of its embeddings: (B, T, D), (B, T) mask -> (B, C) logits."""

    base_model_prefix = "body"

    def __init__(self, vectors: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.config = TOY_CONFIG
        self.body = _Body(vectors)
        self.body.config = self.config = SimpleNamespace(model_type="bert")  # where its embedding block is
        self.function = function

    @property
    def base_model(self) -> nn.Module:
        return self.body

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> SimpleNamespace:
        x = self.body(input_ids=input_ids, inputs_embeds=inputs_embeds, token_type_ids=token_type_ids)
        assert attention_mask is not None
        return SimpleNamespace(logits=self.function(x, attention_mask))


def toy(
    first: list[float], second: list[float], function: Callable[[Tensor, Tensor], Tensor], classes: int = 2
) -> LoadedModel:
    """Return a toy model in which tokens FIRST and SECOND have the given vectors and all others are zero."""
    vectors = torch.zeros(7, len(first))
    vectors[FIRST], vectors[SECOND] = torch.tensor(first), torch.tensor(second)
    return as_model(Toy(vectors, function).eval().requires_grad_(False), classes)


def toy_inputs(ids: list[int]) -> Inputs:
    """Return one example without special tokens."""
    row = torch.tensor([ids])
    return Inputs(row, torch.ones_like(row), None, torch.zeros_like(row, dtype=torch.bool))


def squares(x: Tensor, mask: Tensor) -> Tensor:
    """Class 0: the sum of all squares. Class 1: the plain sum."""
    counted = x * mask[:, :, None]
    return torch.stack([counted.square().sum(dim=(1, 2)), counted.sum(dim=(1, 2))], dim=1)


NEUTRAL = "the film is was and very story acting plot music a".split()


POSITIVE, NEGATIVE = ("good", "great", "love", "bright"), ("bad", "awful", "hate", "dull")


def verdicts(count: int, generator: torch.Generator) -> tuple[Inputs, Tensor, Tensor]:
    """Return sentences of 8 neutral words and one telling word, their labels and the telling word's place."""
    neutral = torch.tensor([WORDS.index(word) for word in NEUTRAL])
    telling = torch.tensor([[WORDS.index(word) for word in words] for words in (NEGATIVE, POSITIVE)])
    ids = torch.full((count, 11), 2)
    ids[:, 1:-1] = neutral[torch.randint(len(NEUTRAL), (count, 9), generator=generator)]
    ids[:, -1] = 3
    labels = torch.randint(2, (count,), generator=generator)
    places = torch.randint(1, 10, (count,), generator=generator)
    chosen = torch.randint(len(POSITIVE), (count,), generator=generator)
    ids[torch.arange(count), places] = telling[labels, chosen]
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, [0, -1]] = True
    return Inputs(ids, torch.ones_like(ids), torch.zeros_like(ids), special), labels, places
