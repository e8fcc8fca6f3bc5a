"""A distillation method that exists in tests only: the one new file that a method needs besides its entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from distill_core.config.method_spec import DistillationMethod, Paper, Term
from distill_core.objectives.base import ATTENTIONS, Counts, ForwardPass, TeacherTargets, number_of, per_count


@dataclass(frozen=True)
class ToyObjective:
    """The squared difference between the first attention maps of teacher and student, mean over their heads."""

    share: float = 0.5
    key: ClassVar[str] = "toy"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"attention": (0, 1)}
    needs: ClassVar[frozenset[str]] = ATTENTIONS

    @property
    def cache_key(self) -> str:
        return "toy"

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `attention` (batch, token, token), 0 on padding."""
        return {"attention": _first_attention(teacher).detach()}

    def counts(self, targets: TeacherTargets) -> Counts:
        return {self.key: number_of(targets["attention"])}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Tensor]:
        difference = (targets["attention"] - _first_attention(student)).square()
        return {self.key: per_count(self.share * difference.sum(), counts[self.key])}


def _first_attention(forward: ForwardPass) -> Tensor:
    there = forward.mask[:, :, None] & forward.mask[:, None, :]  # (B, T, T)
    attention = forward.layers[0].attention
    assert attention is not None
    return torch.where(there, attention.mean(dim=1), 0.0)


TOY = DistillationMethod(
    key="toy",
    title="Toy method",
    words="The student learns to attend as its teacher does in the first layer.",
    score_words="The student learns to attend as its teacher does in the first layer, for scores.",
    compares="attention of the first layer",
    papers=(Paper("Nobody", "A Method of the Tests", "nowhere, 2020", "arXiv 0000.00000"),),
    terms=(
        Term(
            name="toy",
            title="First attention (toy)",
            color="#123456",
            symbol=r"\mathrm{TOY}",
            formula=r"\lVert A_t - A_s \rVert^2",
            words="Squared difference of the first layer’s attention.",
            weight="method_weight",
        ),
    ),
    objective="tests.support.toy_objective:ToyObjective",
    arguments=(("share", "rationale_share"),),
    own_settings=("rationale_share",),
    describe=lambda settings, _: [f"a share of {settings['rationale_share']}"],
)
