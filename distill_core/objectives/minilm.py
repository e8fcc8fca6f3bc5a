"""MiniLM: the student matches the relations between tokens inside one self-attention layer of the teacher.

Source: Wang et al., *MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
Transformers*, NeurIPS 2020, arXiv 2002.10957, and in the form used here Wang et al., *MiniLMv2: Multi-Head
Self-Attention Relation Distillation for Compressing Pretrained Transformers*, ACL Findings 2021, arXiv 2012.15828.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.config.layer_mapping import relation_heads, relation_layer
from distill_core.errors import ModelError
from distill_core.objectives.base import PROJECTIONS, Counts, ForwardPass, TeacherTargets, full_precision, per_count


@dataclass(frozen=True)
class MiniLm:
    """KL divergence of the relations Q·Qᵀ, K·Kᵀ and V·Vᵀ of one teacher layer and the student's last layer.

    `heads`: the number of relation heads, None for the choice of `relation_heads`; `layer`: the teacher's, counted from
    1, None for the choice of `relation_layer`. The two models may differ in width and in attention heads; the number of
    relation heads is the same for both.
    """

    heads: int | None = None
    layer: int | None = None
    key: ClassVar[str] = "minilm"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"relations": (2, 3), "positions": (0,)}
    needs: ClassVar[frozenset[str]] = PROJECTIONS

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on."""
        return f"minilm heads={self.heads} layer={self.layer}"

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `relations` (batch, 3, head, token, token) as logarithms, and `positions` (batch, token)."""
        layer = relation_layer(len(teacher.layers), self.layer)
        heads = relation_heads([_projections(teacher, layer)[0].shape[-1]], self.heads)
        relations = log_relations(teacher, layer, heads).detach()
        return {"relations": relations, "positions": teacher.mask.to(relations.dtype)}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of positions that are not padding."""
        return {self.key: targets["positions"].sum().long()}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return Σ over Q, K, V of the KL divergence from the teacher's relations, a mean over heads and positions.

        No second derivative is needed; 0 when the relations are equal.
        """
        teacher_log = targets["relations"]  # (B, 3, H, T, T)
        student_log = log_relations(student, len(student.layers), teacher_log.shape[2])
        divergence = teacher_log.exp() * (teacher_log - student_log)  # 0 on padding, where both logarithms are 0
        return {self.key: per_count(divergence.sum() / teacher_log.shape[2], counts[self.key])}


def log_relations(forward: ForwardPass, layer: int, heads: int) -> Float[Tensor, "batch kind head token token"]:
    """Return log softmax(A·Aᵀ / √d) over the tokens for A of Q, K and V, split into heads of d dimensions.

    Padding is excluded from the softmax; its rows and columns are 0.
    """
    valid = forward.mask[:, None, :, None] & forward.mask[:, None, None, :]  # (B, 1, T, T)
    padding = ~forward.mask[:, None, None, :]  # (B, 1, 1, T)
    kinds = []
    for projection in _projections(forward, layer):
        split = projection.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, H, T, d)
        scores = split @ split.transpose(-1, -2) / split.shape[-1] ** 0.5  # (B, H, T, T)
        log_softmax = scores.masked_fill(padding, torch.finfo(scores.dtype).min).log_softmax(dim=-1)
        kinds.append(torch.where(valid, log_softmax, 0.0))
    return torch.stack(kinds, dim=1)


def _projections(forward: ForwardPass, layer: int) -> list[Float[Tensor, "batch token width"]]:
    """Return queries, keys and values of a layer, counted from 1, all heads side by side; ModelError without them."""
    record = forward.layers[layer - 1]
    projections = []
    for name in ("query", "key", "value"):
        projection: Tensor | None = getattr(record, name)
        if projection is None:  # its term would be missing from the loss
            raise ModelError(
                f"Layer {layer} recorded no {name} projection; MiniLM needs query, key and value. Correct the "
                "projections in the entry of this architecture (storage/encoder_families.py), or choose another method."
            )
        projections.append(full_precision(projection))
    return projections
