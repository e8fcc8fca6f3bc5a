"""Integrated gradients: (x − x') ⊙ the mean gradient on the straight path from a baseline x' to x.

The path is cut into pieces, each integrated by a Gauss-Legendre rule. The error of a piece is estimated by the larger
of two numbers: the difference between its sum over the tokens and F(end) − F(start), which is known, and an estimate of
the errors of its single tokens, which may cancel in that sum. Pieces with large errors are halved. An example has
converged when the estimates of all its pieces *add up* to no more than the tolerance. This is stricter than the
completeness gap, in which errors of opposite sign cancel although the map is still wrong.

The estimate for single tokens (ours) starts from r, the size of the two highest Legendre coefficients that the rule's
nodes resolve, summed over the tokens. The coefficients of a smooth function fall geometrically and the rule is exact to
twice their degree, so its error falls as r² divided by the piece's mass; r itself bounds the error where nothing is
resolved.

Why not a single rule with more and more nodes: Gauss-Legendre rules share no nodes, so doubling discards all work done,
and from a zero baseline the path bends sharply near x' (LayerNorm), which no fixed rule resolves. That is also why
[PAD] is the default baseline: there, a third of the nodes give a far better resolved map.
"""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.errors import ConfigError

CAUTION = 0.05  # factor of the estimate (ours): converged maps are within the tolerance of finely resolved ones
ROUNDING = 1e-6  # a gap below this share of 1 + |F| is float32 rounding, not error of the rule


@dataclass(frozen=True)
class IntegratedGradients:
    """Integrated gradients (Sundararajan, Taly, Yan 2017, arXiv 1703.01365), signed: summed over the width.

    `tolerance`: largest estimated error relative to the attributed mass Σ|scores|. `nodes`: use exactly this many
    nodes, one Gauss-Legendre rule over the whole path, instead of adapting. `max_nodes`: gradients per example when
    adapting. `pieces`, `nodes_per_piece`: the number of pieces at first, and the rule on each.
    """

    tolerance: float = 0.01
    nodes: int | None = None
    max_nodes: int = 400
    pieces: int = 4
    nodes_per_piece: int = 5
    key = "integrated_gradients"

    def __post_init__(self) -> None:
        counts = (self.nodes or 1, self.pieces, self.nodes_per_piece)
        if min(counts) < 1 or self.tolerance <= 0 or self.max_nodes < self.pieces * self.nodes_per_piece:
            raise ConfigError(
                f"{self} cannot be used: counts must be at least 1, the tolerance positive, and max_nodes "
                f"at least pieces × nodes_per_piece."
            )

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the maps; targets share forward passes, yet each map is the same as if requested alone."""
        adapting = self.nodes is None
        rule = self.nodes_per_piece if self.nodes is None else self.nodes
        cuts = torch.linspace(0, 1, (self.pieces if adapting else 1) + 1, dtype=torch.float64)
        done = _first_pieces(request, cuts, rule)
        spent = done.number(len(request.targets)) * rule  # (B, K)
        while adapting:
            wanted = done.to_halve(spent + 2 * rule <= self.max_nodes, self.tolerance)
            if not bool(wanted.any()):
                break
            halves = _halve(request, done, wanted, rule)
            done = done.without(wanted).join(halves)
            spent = spent + halves.number(len(spent)) * rule
        return self._result(request, done, spent)

    def _result(
        self, request: AttributionRequest, pieces: "_Pieces", spent: Int[Tensor, "batch target"]
    ) -> list[Attribution]:
        examples = len(request.targets)
        scores = pieces.total(pieces.scores, examples)  # (B, K, T)
        gap = pieces.total(pieces.error, examples).abs()  # (B, K)
        mass = scores.abs().sum(dim=-1)
        relative = torch.where(mass > 0, gap / mass.clamp(min=1e-300), torch.where(gap > 0, torch.inf, 0.0))
        error = pieces.total(pieces.error_estimate, examples)
        return to_attributions(
            request,
            scores.float(),
            gap=gap.float(),
            relative_gap=relative.float(),
            converged=error <= pieces.allowed(examples, self.tolerance),
            nodes=spent,
        )


@dataclass(frozen=True)
class _Pieces:
    """P pieces of examples' paths: their ends, F at their ends, and their share of the maps.

    `tail`: the size of the highest coefficients of the slopes, summed over the tokens.
    `counts`: for which targets a piece is part of the path; a target that needed finer pieces there has
    others. All tensors are on the CPU in float64, so that summation adds no error and any device can be used.
    """

    example: Int[Tensor, " piece"]
    start: Float[Tensor, " piece"]
    end: Float[Tensor, " piece"]
    start_output: Float[Tensor, "piece target"]
    end_output: Float[Tensor, "piece target"]
    scores: Float[Tensor, "piece target token"]
    tail: Float[Tensor, "piece target"]
    counts: Bool[Tensor, "piece target"]

    @property
    def error(self) -> Float[Tensor, "piece target"]:
        """The rule's sum minus F(end) − F(start)."""
        return self.scores.sum(dim=-1) - (self.end_output - self.start_output)

    @property
    def error_estimate(self) -> Float[Tensor, "piece target"]:
        """The estimated error of a piece's scores, summed over the tokens; at least the error of their sum."""
        mass = self.scores.abs().sum(dim=-1).clamp(min=1e-300)
        return torch.maximum(self.error.abs(), self.tail * (CAUTION * self.tail / mass).clamp(max=1.0))

    def without(self, dropped: Bool[Tensor, "piece target"]) -> "_Pieces":
        """Return the pieces that still count for some target after those in `dropped` no longer do."""
        counts = self.counts & ~dropped
        remaining = counts.any(dim=1)
        parts = (self.example, self.start, self.end, self.start_output, self.end_output, self.scores, self.tail, counts)
        return _Pieces(*(part[remaining] for part in parts))

    def join(self, other: "_Pieces") -> "_Pieces":
        """Return the pieces of both."""
        return _Pieces(*(torch.cat([getattr(self, part.name), getattr(other, part.name)]) for part in fields(self)))

    def total(
        self, values: Float[Tensor, "piece target *token"], examples: int
    ) -> Float[Tensor, "batch target *token"]:
        """Sum values by example and target, over the pieces that count for the target."""
        counted = values * self.counts.reshape(*self.counts.shape, *[1] * (values.ndim - 2))
        return counted.new_zeros(examples, *values.shape[1:]).index_add_(0, self.example, counted)

    def number(self, examples: int) -> Int[Tensor, "batch target"]:
        """Return the number of pieces that count, by example and target."""
        return self.total(torch.ones_like(self.counts, dtype=torch.long), examples)

    def allowed(self, examples: int, tolerance: float) -> Float[Tensor, "batch target"]:
        """Return the error a map may have: `tolerance` of its mass, but not less than float32 rounding."""
        mass = self.total(self.scores, examples).abs().sum(dim=-1)
        size = torch.maximum(self.start_output.abs(), self.end_output.abs())  # (P, K)
        largest = torch.zeros_like(mass).scatter_reduce_(0, self.example[:, None].expand_as(size), size, "amax")
        return torch.maximum(tolerance * mass, ROUNDING * (1 + largest))

    def to_halve(self, affordable: Bool[Tensor, "batch target"], tolerance: float) -> Bool[Tensor, "piece target"]:
        """Return the pieces whose error exceeds an even share of the allowed one, where a map exceeds the allowed one.

        While the errors of the pieces add up to more than is allowed, at least one exceeds the even share.
        """
        examples = len(affordable)
        allowed = self.allowed(examples, tolerance)
        error = self.error_estimate
        inexact = (self.total(error, examples) > allowed) & affordable
        share = allowed / self.number(examples)
        return self.counts & inexact[self.example] & (error > share[self.example])


def _first_pieces(request: AttributionRequest, cuts: Float[Tensor, " cut"], rule: int) -> _Pieces:
    """Cut every example's path at `cuts` (from 0 to 1) and integrate each piece."""
    examples, pieces = len(request.targets), len(cuts) - 1
    everyone = torch.arange(examples)
    outputs = _outputs(request, everyone.repeat_interleave(pieces + 1), cuts.repeat(examples))
    outputs = outputs.reshape(examples, pieces + 1, -1)
    example = everyone.repeat_interleave(pieces)
    start, end = cuts[:-1].repeat(examples), cuts[1:].repeat(examples)
    scores, tail = _integrate(request, example, start, end, rule)
    first, last = outputs[:, :-1].flatten(0, 1), outputs[:, 1:].flatten(0, 1)
    return _Pieces(example, start, end, first, last, scores, tail, torch.ones_like(first, dtype=torch.bool))


def _halve(request: AttributionRequest, pieces: _Pieces, wanted: Bool[Tensor, "piece target"], rule: int) -> _Pieces:
    """Integrate both halves of the wanted pieces; they count for the targets that want them."""
    whole = pieces.without(~wanted)
    middle = (whole.start + whole.end) / 2
    output = _outputs(request, whole.example, middle)
    example = whole.example.repeat(2)
    start, end = torch.cat([whole.start, middle]), torch.cat([middle, whole.end])
    scores, tail = _integrate(request, example, start, end, rule)
    first, last = torch.cat([whole.start_output, output]), torch.cat([output, whole.end_output])
    return _Pieces(example, start, end, first, last, scores, tail, whole.counts.repeat(2, 1))


def _integrate(
    request: AttributionRequest, example: Int[Tensor, " piece"], start: Tensor, end: Tensor, rule: int
) -> tuple[Float[Tensor, "piece target token"], Float[Tensor, "piece target"]]:
    """Return Σ over the width of (x − x') ⊙ ∫ ∂F/∂x dα from `start` to `end`, and its tail; one rule per piece."""
    nodes, weights = (torch.tensor(part, dtype=torch.float64) for part in gauss_legendre(rule))
    sums = torch.stack([weights, *(weights * part for part in highest_legendre(rule))])  # (3, rule)
    piece = torch.arange(len(example)).repeat_interleave(rule)
    width = end - start
    alpha = (start[:, None] + width[:, None] * nodes).flatten()  # (P·rule,)
    weight = (width[:, None] * sums[:, None]).flatten(1)  # (3, P·rule)
    rows = example[piece]
    tokens = request.embeddings.shape[1]
    integrals = start.new_zeros(len(sums), len(example), request.targets.shape[1], tokens)
    for part in request.passes(rows):
        x, delta = _points(request, rows[part], alpha[part])
        slopes = (request.gradients(x, rows[part]) * delta[:, None]).sum(dim=-1).cpu().double()  # (R, K, T)
        integrals.index_add_(1, piece[part], slopes * weight[:, part][:, :, None, None])
    scores, *highest = integrals
    return scores, torch.stack(highest).abs().amax(dim=0).sum(dim=-1)


@torch.no_grad()
def _outputs(
    request: AttributionRequest, rows: Int[Tensor, " row"], alpha: Float[Tensor, " row"]
) -> Float[Tensor, "row target"]:
    """Return F at x' + α (x − x') of the examples `rows`."""
    result = alpha.new_zeros(len(rows), request.targets.shape[1])
    for part in request.passes(rows):
        x, _ = _points(request, rows[part], alpha[part])
        result[part] = request.outputs(x, rows[part]).cpu().double()
    return result


def _points(
    request: AttributionRequest, rows: Int[Tensor, " row"], alpha: Float[Tensor, " row"]
) -> tuple[Float[Tensor, "row token width"], Float[Tensor, "row token width"]]:
    """Return x' + α (x − x') and x − x' of the examples `rows`, on the model's device."""
    assert request.reference is not None
    x, reference = request.embeddings[rows], request.reference[rows]
    delta = x - reference
    return reference + alpha.to(delta)[:, None, None] * delta, delta


@cache
def gauss_legendre(count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the nodes in (0, 1) and weights (sum 1) of the rule that is exact to degree 2·count − 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return tuple((0.5 * (nodes + 1)).tolist()), tuple((0.5 * weights).tolist())


@cache
def highest_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Return the two highest Legendre polynomials a rule of `count` nodes resolves, at its nodes.

    Scaled so that the rule's sum of function times polynomial is the function's coefficient; (count,) each.
    """
    points = 2 * np.array(gauss_legendre(count)[0]) - 1
    degrees = (max(count - 2, 1), max(count - 1, 1))  # never the constant, which is the integral itself
    first, second = (
        torch.tensor((2 * degree + 1) * np.polynomial.legendre.Legendre.basis(degree)(points)) for degree in degrees
    )
    return first, second
