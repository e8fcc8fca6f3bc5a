"""GKD: the student matches the direction of the teacher's gradient at every token.

Source: Wang, Li, Sun, *Gradient Knowledge Distillation for Pre-trained Language Models*, 2022, arXiv 2211.01071, and
its authors' code: the gradients are those of each model's own highest probability; the student's embeddings are copied
from the teacher and frozen, and its dropout is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from distill_core.attribution.reduce import unit_norm
from distill_core.objectives.base import NOTHING, Counts, ForwardPass, TeacherTargets, per_count
from distill_core.objectives.views import predicted_view


@dataclass(frozen=True)
class Gkd:
    """The GKD term: gradients of the predicted class's probability at E, scaled to length 1 at each token.

    For a regression, which the paper does not cover, the gradients are those of the score (ours).
    """

    key: ClassVar[str] = "gkd"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"gradient": (0,)}
    needs: ClassVar[frozenset[str]] = NOTHING

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        # The text of version 0.1, so that stored targets are still found.
        return "Gkd(key='gkd', by_token=frozenset({'gradient'}))"

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `gradient` (batch, token, width), of L2 norm 1 at every token with a gradient."""
        return {"gradient": _directions(teacher, create_graph=False).detach()}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of tokens with a teacher gradient."""
        return {self.key: count_directions(targets["gradient"])}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return Σ ‖g_teacher − g_student‖² / number of tokens with a teacher gradient; at most 4.

        Differentiable in the student's parameters (second order); 0 when the directions are equal. Both models must
        have the same width.
        """
        distance = (targets["gradient"] - _directions(student, create_graph=True)).square().sum()
        return {self.key: per_count(distance, counts[self.key])}


def count_directions(gradient: Float[Tensor, "batch place width"]) -> Int[Tensor, ""]:
    """Return the number of directions that are not 0."""
    return (gradient != 0).any(dim=-1).sum()


def _directions(forward: ForwardPass, *, create_graph: bool) -> Float[Tensor, "batch token width"]:
    view = predicted_view(forward.logits)
    (gradient,) = torch.autograd.grad(view, forward.embeddings, create_graph=create_graph, retain_graph=True)
    return masked(unit_norm(gradient), forward.mask)


def masked(
    values: Float[Tensor, "batch token width"], mask: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch token width"]:
    """Return the values, 0 on padding."""
    return values.masked_fill(~mask[:, :, None], 0.0)
