"""Patient KD: the student matches the teacher's [CLS] states, layer by layer.

Source: Sun et al., *Patient Knowledge Distillation for BERT Model Compression*, EMNLP 2019, arXiv 1908.09355.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.attribution.reduce import unit_norm
from distill_core.config.layer_mapping import Pairs
from distill_core.objectives.base import (
    STATES,
    Counts,
    ForwardPass,
    TeacherTargets,
    full_precision,
    number_of,
    per_count,
)


@dataclass(frozen=True)
class Pkd:
    """The PKD term on the [CLS] states, scaled to length 1, of the matched layers (`pairs`)."""

    pairs: Pairs
    key: ClassVar[str] = "pkd"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    needs: ClassVar[frozenset[str]] = STATES

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        # The text of version 0.1, so that stored targets are still found.
        return f"Pkd(pairs={self.pairs!r}, key='pkd', by_token=frozenset())"

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `states` (batch, layer, width), of L2 norm 1."""
        return {"states": cls_states(teacher, [layer for _, layer in self.pairs]).detach()}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of examples."""
        return {self.key: number_of(targets["states"])}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the squared difference, averaged over batch, layers and width (as in GKD's code); at most 4 / D.

        Sun et al. sum over layers and width, which differs by a factor that the weight absorbs.
        """
        states = cls_states(student, [layer for layer, _ in self.pairs])
        distances = (targets["states"] - states).square().mean(dim=(1, 2))
        return {self.key: per_count(distances.sum(), counts[self.key])}


def cls_states(forward: ForwardPass, layers: Sequence[int]) -> Float[Tensor, "batch layer width"]:
    """Return the states at [CLS] after some layers (counted from 1), each scaled to length 1."""
    return unit_norm(full_precision(torch.stack([forward.states[layer - 1][:, 0] for layer in layers], dim=1)))
