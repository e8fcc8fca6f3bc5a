"""EGKD, gradient-based: the student's signed gradient × input map follows the teacher's.

Source of the idea: Yang et al., *Explanation Guided Knowledge Distillation for Pre-trained Language Model Compression*,
ACM TALLIP 23(2), 2024, doi 10.1145/3639364. The formula is ours: the article's was not available.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.attribution.reduce import signed_sum, unit_norm
from distill_core.objectives.base import NOTHING, Counts, ForwardPass, TeacherTargets, per_count
from distill_core.objectives.views import log_odds


@dataclass(frozen=True)
class EgkdGradient:
    """The term on the signed maps of the class that the teacher predicts, or of the score; each has L2 norm 1."""

    key: ClassVar[str] = "egkd_gradient"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"map": (0,)}
    needs: ClassVar[frozenset[str]] = NOTHING

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        # The text of version 0.1, so that stored targets are still found.
        return "EgkdGradient(key='egkd_gradient', by_token=frozenset({'map'}))"

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `map` (batch, token) and `predicted` (batch), the teacher's class."""
        predicted = teacher.logits.argmax(dim=1)
        return {"map": signed_map(teacher, predicted, create_graph=False).detach(), "predicted": predicted}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of nonzero entries of the maps."""
        return {self.key: targets["map"].count_nonzero()}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return Σ (a_teacher − a_student)² / number of nonzero teacher entries; 0 when the maps are equal."""
        student_map = signed_map(student, targets["predicted"].long(), create_graph=True)
        return {self.key: per_count((targets["map"] - student_map).square().sum(), counts[self.key])}


def signed_map(forward: ForwardPass, index: Tensor, *, create_graph: bool) -> Float[Tensor, "batch token"]:
    """Return Σ_D g ⊙ E for one class of each example, scaled to L2 norm 1 over its tokens; 0 on padding.

    g is the gradient of the class's log-odds, which has the direction of the probability's gradient.
    """
    view = log_odds(forward.logits, index).sum()
    (gradient,) = torch.autograd.grad(view, forward.embeddings, create_graph=create_graph, retain_graph=True)
    return unit_norm(signed_sum(gradient * forward.embeddings, forward.mask))
