"""Reductions: from values over the embedding width to token scores, and from word pieces to whole words."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill_core.models.tokenization import Encoded


def signed_sum(
    values: Float[Tensor, "*batch token width"], mask: Bool[Tensor, "*batch token"]
) -> Float[Tensor, "*batch token"]:
    """Return the sum over the width, 0 where `mask` is False; keeps completeness."""
    return values.sum(dim=-1).masked_fill(~mask, 0.0)


def l2_norm(
    values: Float[Tensor, "*batch token width"], mask: Bool[Tensor, "*batch token"]
) -> Float[Tensor, "*batch token"]:
    """Return the L2 norm over the width (never negative), 0 where `mask` is False."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm.masked_fill(~mask, 0.0)


def unit_norm(scores: Float[Tensor, "*batch token"]) -> Float[Tensor, "*batch token"]:
    """Scale each map to L2 norm 1 over its tokens; a map of zeros stays zeros."""
    length = torch.linalg.vector_norm(scores, dim=-1, keepdim=True)
    return torch.where(length > 0, scores / length.clamp(min=torch.finfo(scores.dtype).tiny), 0.0)


def share_among_tokens(
    scores: Float[Tensor, "group target"],
    groups: Bool[Tensor, "group token"],
    examples: Int[Tensor, " group"],
    count: int,
) -> Float[Tensor, "batch target token"]:
    """Give each token an equal share of its group's score, 0 to tokens of no group; keeps the sum.

    `groups`: True at the tokens of a group. `examples`: the example each group is of, among `count` examples.
    """
    shares = groups.to(scores.dtype) / groups.sum(dim=1, keepdim=True).clamp(min=1)  # (G, T)
    tokens = scores.new_zeros(count, scores.shape[1], groups.shape[1])  # (B, K, T)
    return tokens.index_add_(0, examples, scores[:, :, None] * shares[:, None])


def word_numbers(rows: Sequence[Encoded]) -> Int[Tensor, "batch token"]:
    """Stack the rows' word numbers, -1 at special tokens and at padding on the right."""
    numbers = torch.full((len(rows), max(len(row.ids) for row in rows)), -1)
    for index, row in enumerate(rows):
        numbers[index, : len(row.words)] = torch.tensor([-1 if word is None else word for word in row.words])
    return numbers


def word_groups(words: Sequence[int | None]) -> list[list[int]]:
    """Return the token positions of each whole word, in order; a special token is a group of its own."""
    groups: list[list[int]] = []
    for position, word in enumerate(words):
        if word is not None and groups and words[groups[-1][-1]] == word:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def sum_words(scores: Sequence[float], words: Sequence[int | None], wanted: Sequence[int | None]) -> tuple[float, ...]:
    """Return the sum of the scores of each wanted word's pieces; 0 for a word without pieces: it cannot affect F."""
    totals = dict.fromkeys(wanted, 0.0)
    for score, word in zip(scores, words, strict=True):
        if word in totals:
            totals[word] += score
    return tuple(totals.values())
