"""SHAP: each word's Shapley value, its mean effect on F over all orders in which the erased words can be put back.

A text of few words is computed exactly, from every set of its words. For longer texts orders are drawn at random,
each together with its reverse, which cancels much of the error. Along any order the words' effects add up to
F(x) − F(x'), so the scores are complete however few orders are drawn. What stays uncertain is the split between the
words: `converged` says whether their standard errors are within the tolerance.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.attribution.reduce import share_among_tokens
from distill_core.errors import ConfigError


@dataclass(frozen=True)
class Shap:
    """Shapley values of whole words (Lundberg & Lee 2017; sampled as by Castro, Gómez & Tejada 2009), signed.

    An erased word has the baseline's embeddings; special tokens are never erased and score 0. Each token of a word
    gets an equal share of the word's score. `exact_words`: texts of at most so many words are computed exactly.
    `order_pairs`: orders drawn for longer texts, each used forwards and backwards. `tolerance`: largest
    `sampling_error` that counts as converged.
    """

    exact_words: int = 8
    order_pairs: int = 16
    tolerance: float = 0.2
    key = "shap"

    def __post_init__(self) -> None:
        if not 0 <= self.exact_words <= 16 or self.order_pairs < 2 or self.tolerance <= 0:
            raise ConfigError(
                f"{self} cannot be used: exact_words must be 0 to 16, order_pairs at least 2, the tolerance positive."
            )

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the maps; one forward pass per set of words serves all targets."""
        examples, words = request.replaceable_words(special=False)  # (G,), (G, T)
        count = len(request.targets)
        plans = [self._plan(int((examples == example).sum()), request.seed) for example in range(count)]
        erasable = torch.zeros(count, words.shape[1], dtype=torch.bool).index_add_(0, examples, words)  # (B, T)
        keep = [
            ~erasable[example] | ((plan.sets.float() @ words[examples == example].float()) > 0)
            for example, plan in enumerate(plans)
        ]  # (S, T) an example
        sizes = torch.tensor([len(plan.sets) for plan in plans])  # (B,)
        outputs = request.masked_outputs(torch.cat(keep), torch.arange(count).repeat_interleave(sizes))  # (ΣS, K)
        by_example = outputs.double().split(sizes.tolist())
        estimates = [_mean_and_error(plan.estimates(own)) for plan, own in zip(plans, by_example, strict=True)]
        scores = share_among_tokens(torch.cat([score for score, _ in estimates]), words, examples, count)  # (B, K, T)
        mass = scores.abs().sum(dim=-1)  # (B, K)
        change = torch.stack([_total_change(plan, own) for plan, own in zip(plans, by_example, strict=True)])
        gap = (scores.sum(dim=-1) - change).abs()
        errors = torch.stack([error.sum(dim=0) for _, error in estimates])
        return to_attributions(
            request,
            scores.float(),
            gap=gap.float(),
            relative_gap=_share_of(gap, mass),
            converged=errors <= self.tolerance * mass,
            nodes=sizes[:, None].expand(-1, request.targets.shape[1]),
            sampling_error=_share_of(errors, mass),
        )

    def _plan(self, words: int, seed: int) -> "_EverySet | _DrawnOrders":
        """Return which sets of a text's words to evaluate."""
        return _every_set(words) if words <= self.exact_words else _drawn_orders(words, self.order_pairs, seed)


@dataclass(frozen=True)
class _EverySet:
    """All 2^W sets of a text's W words; the score of word w is Σ over the sets of weights[w, s] · F(s)."""

    sets: Bool[Tensor, "set word"]
    weights: Float[Tensor, "word set"]

    def estimates(self, outputs: Float[Tensor, "set target"]) -> Float[Tensor, "1 word target"]:
        """Return the exact scores, as a single estimate."""
        return (self.weights @ outputs)[None]


@dataclass(frozen=True)
class _DrawnOrders:
    """The different sets that R pairs of orders pass through; each pair gives one estimate of the scores.

    `index[r, o, n]`: the set of the first n words of an order. `place[r, o, w]`: how many words come before w.
    """

    sets: Bool[Tensor, "set word"]
    index: Int[Tensor, "pair 2 size"]
    place: Int[Tensor, "pair 2 word"]

    def estimates(self, outputs: Float[Tensor, "set target"]) -> Float[Tensor, "pair word target"]:
        """Return the scores by pair: each word's effect when it is put back, averaged over the two orders."""
        effects = outputs[self.index].diff(dim=2)  # (R, 2, W, K) by place
        return effects.take_along_dim(self.place[..., None], dim=2).mean(dim=1)


def _every_set(words: int) -> _EverySet:
    """Return all sets with the Shapley weights: the sizes count equally, and so do the sets of one size."""
    sets = torch.arange(2**words)[:, None].bitwise_and(2 ** torch.arange(words)) > 0  # (S, W)
    size = sets.sum(dim=1, keepdim=True)  # (S, 1)
    # By the number of other words in the set; the 0 fills the places that `where` does not choose.
    shapley = [1 / (words * math.comb(words - 1, others)) for others in range(words)] + [0.0]
    by_size = torch.tensor(shapley, dtype=torch.float64)
    return _EverySet(sets, torch.where(sets, by_size[size - 1], -by_size[size]).T)


def _drawn_orders(words: int, pairs: int, seed: int) -> _DrawnOrders:
    """Draw orders, each with its reverse; they depend on the number of words and the seed only."""
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(words, generator=generator) for _ in range(pairs)])
    place = torch.stack([orders, orders.flip(1)], dim=1).argsort(dim=-1)  # (R, 2, W)
    first = torch.arange(words + 1)[:, None] > place[:, :, None]  # (R, 2, W + 1, W): the first n words
    sets, index = torch.unique(first.flatten(0, 2), dim=0, return_inverse=True)
    return _DrawnOrders(sets, index.reshape(pairs, 2, words + 1), place)


def _mean_and_error(
    estimates: Float[Tensor, "estimate word target"],
) -> tuple[Float[Tensor, "word target"], Float[Tensor, "word target"]]:
    """Return the mean of independent estimates and its standard error, 0 for a single, exact one."""
    count, mean = len(estimates), estimates.mean(dim=0)
    return mean, torch.zeros_like(mean) if count == 1 else estimates.std(dim=0) / math.sqrt(count)


def _share_of(
    part: Float[Tensor, "batch target"], mass: Float[Tensor, "batch target"]
) -> Float[Tensor, "batch target"]:
    """Return part / mass; for a mass of 0, infinity, or 0 where the part is 0 too."""
    return torch.where(mass > 0, part / mass.clamp(min=1e-300), torch.where(part > 0, torch.inf, 0.0))


def _total_change(plan: _EverySet | _DrawnOrders, outputs: Float[Tensor, "set target"]) -> Float[Tensor, " target"]:
    """Return F with all words minus F with none."""
    return outputs[plan.sets.all(dim=1)][0] - outputs[~plan.sets.any(dim=1)][0]
