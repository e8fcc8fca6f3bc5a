"""EGKD, feature selection: the tokens that decide the teacher's answer decide the student's.

Source of the idea: Yang et al., *Explanation Guided Knowledge Distillation for Pre-trained Language Model Compression*,
ACM TALLIP 23(2), 2024, doi 10.1145/3639364. The formula is ours: the article's was not available. Sufficiency and
comprehensiveness: DeYoung et al., *ERASER*, ACL 2020, arXiv 1911.03429.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from distill_core.objectives.base import NOTHING, Counts, ForwardPass, TeacherTargets, number_of, per_count
from distill_core.objectives.egkd_gradient import signed_map


@dataclass(frozen=True)
class EgkdFeatureSelection:
    """The term on the answers from the teacher's rationale alone and on the change of the answer without it.

    `share`: the share of a text's tokens that form its rationale, at least one token.
    """

    share: float = 0.25
    key: ClassVar[str] = "egkd_feature_selection"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"rationale": (0,)}
    needs: ClassVar[frozenset[str]] = NOTHING

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        # The text of version 0.1, so that stored targets are still found.
        return (
            f"EgkdFeatureSelection(share={self.share!r}, "
            f"key='egkd_feature_selection', by_token=frozenset({{'rationale'}}))"
        )

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `rationale` (batch, token), 1 at its tokens, and `alone` and `change` (batch, class)."""
        rationale = self._rationale(teacher)
        with torch.no_grad():
            alone, change = self._answers(teacher, rationale)
        return {"rationale": rationale, "alone": alone.detach(), "change": change.detach()}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of examples."""
        return {self.key: number_of(targets["change"])}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return Σ_c of the squared differences of the answers from the rationale alone and of the changes without it.

        Averaged over the batch; no second derivative is needed.
        """
        alone, change = self._answers(student, targets["rationale"].bool())
        gaps = (targets["alone"] - alone).square() + (targets["change"] - change).square()
        return {self.key: per_count(gaps.sum(), counts[self.key])}

    def _rationale(self, teacher: ForwardPass) -> Bool[Tensor, "batch token"]:
        """Return the tokens of the text with the largest |gradient × input| for the teacher's class."""
        scores = signed_map(teacher, teacher.logits.argmax(dim=1), create_graph=False).detach().abs()
        scores = scores.masked_fill(~teacher.content, -1.0)
        rationale = torch.zeros_like(teacher.content)
        for row, count in enumerate(teacher.content.sum(dim=1).tolist()):
            rationale[row, scores[row].topk(max(1, math.ceil(round(self.share * count, 9)))).indices] = True
        return rationale & teacher.content

    @staticmethod
    def _answers(
        forward: ForwardPass, rationale: Bool[Tensor, "batch token"]
    ) -> tuple[Float[Tensor, "batch class"], Float[Tensor, "batch class"]]:
        """Return the answers with all other tokens of the text erased, and the change with the rationale erased."""
        erased = torch.stack([forward.content & ~rationale, rationale], dim=2)
        alone, without = forward.answers_without(erased).unbind(dim=1)
        return alone, without - forward.answers
