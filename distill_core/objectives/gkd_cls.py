"""GKD-CLS: GKD, the same at [CLS] after each matched layer, and patient KD on those layers.

Source: Wang, Li, Sun, *Gradient Knowledge Distillation for Pre-trained Language Models*, 2022, arXiv 2211.01071, and
its authors' code, which matches layers 1–5 of a student of 6 with layers 2, 4 … 10 of a teacher of 12.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.attribution.reduce import unit_norm
from distill_core.config.layer_mapping import Pairs
from distill_core.objectives.base import STATES, Counts, ForwardPass, TeacherTargets, full_precision, per_count
from distill_core.objectives.gkd import count_directions, masked
from distill_core.objectives.pkd import Pkd
from distill_core.objectives.views import predicted_view


@dataclass(frozen=True)
class GkdCls:
    """The terms of GKD, of the gradients at [CLS] after the matched layers (`pairs`), and of PKD on their states."""

    pairs: Pairs
    key: ClassVar[str] = "gkd_cls"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"gradient": (0,)}
    needs: ClassVar[frozenset[str]] = STATES

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        # The text of version 0.1, so that stored targets are still found.
        return f"GkdCls(pairs={self.pairs!r}, key='gkd_cls', by_token=frozenset({{'gradient'}}))"

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `gradient` (batch, token, width), `cls_gradient` and `states` (batch, layer, width), of length 1."""
        directions = self._directions(teacher, [layer for _, layer in self.pairs], create_graph=False)
        return {name: values.detach() for name, values in directions.items()} | dict(Pkd(self.pairs).targets(teacher))

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of tokens, and of examples for each layer, with a teacher gradient, and PKD's count."""
        at_cls = (targets["cls_gradient"] != 0).any(dim=-1).sum(dim=0)
        return {"gkd": count_directions(targets["gradient"]), "gkd_cls": at_cls} | Pkd(self.pairs).counts(targets)

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, draw: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return `gkd`, the term of GKD, `gkd_cls`, the same at [CLS] summed over the layers, and `pkd`."""
        directions = self._directions(student, [layer for layer, _ in self.pairs], create_graph=True)
        distances = {name: (targets[name] - values).square() for name, values in directions.items()}
        terms = {
            "gkd": per_count(distances["gradient"].sum(), counts["gkd"]),
            "gkd_cls": per_count(distances["cls_gradient"].sum(dim=(0, 2)), counts["gkd_cls"]),
        }
        return terms | Pkd(self.pairs).losses(student, targets, draw, counts)

    @staticmethod
    def _directions(forward: ForwardPass, layers: list[int], *, create_graph: bool) -> dict[str, Tensor]:
        """Return the directions of the gradients at E and, at [CLS], after some layers, from one backward pass."""
        points = [forward.embeddings, *(forward.states[layer - 1] for layer in layers)]
        view = predicted_view(forward.logits)
        first, *others = torch.autograd.grad(view, points, create_graph=create_graph, retain_graph=True)
        at_cls = unit_norm(full_precision(torch.stack([gradient[:, 0] for gradient in others], dim=1)))
        return {"gradient": masked(unit_norm(first), forward.mask), "cls_gradient": at_cls}
