"""EGKD, perturbation-based: the student's answer changes as the teacher's does when tokens are erased.

Source of the idea: Yang et al., *Explanation Guided Knowledge Distillation for Pre-trained Language Model Compression*,
ACM TALLIP 23(2), 2024, doi 10.1145/3639364. The formula is ours: the article's was not available.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from distill_core.objectives.base import NOTHING, Counts, ForwardPass, TeacherTargets, number_of, per_count

SHARE = 0.25  # of the tokens that an erasure removes, on average (ours)


@dataclass(frozen=True)
class EgkdPerturbation:
    """The term on the changes of the answer (probabilities, or the score) when [MASK] replaces some tokens.

    `erasures`: sets of tokens drawn once for each example; `each_step`: the number of them that a step uses. No second
    derivative is needed.
    """

    erasures: int = 4
    each_step: int = 1
    key: ClassVar[str] = "egkd_perturbation"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"erased": (0,)}
    needs: ClassVar[frozenset[str]] = NOTHING

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        # The text of version 0.1, so that stored targets are still found.
        return (
            f"EgkdPerturbation(erasures={self.erasures!r}, key='egkd_perturbation', by_token=frozenset({{'erased'}}))"
        )

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `erased` (batch, token, erasure), 1 at erased tokens, and `change` (batch, erasure, class)."""
        erased = drawn_erasures(teacher, self.erasures)
        with torch.no_grad():
            change = teacher.answers_without(erased) - teacher.answers[:, None]
        return {"erased": erased, "change": change.detach()}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of examples."""
        return {self.key: number_of(targets["change"])}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, draw: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return Σ_c (Δp_teacher(c) − Δp_student(c))², averaged over the batch and the erasures of the step."""
        chosen = torch.randperm(self.erasures, generator=draw)[: self.each_step].to(student.logits.device)
        change = student.answers_without(targets["erased"][:, :, chosen].bool()) - student.answers[:, None]
        distances = (targets["change"][:, chosen] - change).square().sum(dim=2).mean(dim=1)
        return {self.key: per_count(distances.sum(), counts[self.key])}


def drawn_erasures(forward: ForwardPass, count: int) -> Bool[Tensor, "batch token erasure"]:
    """Return the tokens that each erasure removes: a random set of the text's tokens, at least one.

    The sets depend on the example's tokens alone, not on the batch.
    """
    erased = torch.zeros(*forward.mask.shape, count, dtype=torch.bool)
    for row, (ids, content) in enumerate(zip(forward.inputs.input_ids.cpu(), forward.content.cpu(), strict=True)):
        places = content.nonzero()[:, 0]
        if not len(places):
            continue
        draw = torch.Generator().manual_seed(zlib.crc32(ids[: int(forward.mask[row].sum())].numpy().tobytes()))
        chances = torch.rand(len(places), count, generator=draw)
        chances.scatter_(0, chances.argmin(dim=0, keepdim=True), 0.0)  # at least one
        erased[row, places] = chances < SHARE
    return erased.to(forward.logits.device)
