"""AD-KD: the student matches the teacher's attribution map, one-step form.

Source: Wu et al., *AD-KD: Attribution-Driven Knowledge Distillation for Language Model Compression*,
ACL 2023, arXiv 2305.10010, and its authors' code (one-step maps in all published recipes).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.attribution.reduce import l2_norm, unit_norm
from distill_core.objectives.base import ForwardPass


@dataclass(frozen=True)
class AdKd:
    """The AD-KD term. `top_k`: dimensions K the teacher's map keeps a token, None for all D."""

    top_k: int | None = None
    key: str = "ad_kd"

    def signal(self, teacher: ForwardPass) -> Float[Tensor, "batch view token"]:
        """Return the teacher's maps, one a view, each of L2 norm 1 over its tokens; carries no graph."""
        maps = [attribution_map(teacher, view, top_k=self.top_k, create_graph=False) for view in views(teacher.logits)]
        return torch.stack(maps, dim=1).detach()

    def loss(self, student: ForwardPass, signal: Float[Tensor, "batch view token"]) -> Float[Tensor, ""]:
        """Return Σ_views Σ (a_teacher − a_student)² / number of nonzero teacher entries.

        Differentiable in the student's parameters (second order); 0 when the maps are equal.
        """
        total = student.logits.new_zeros(())
        for index, view in enumerate(views(student.logits)):
            own = attribution_map(student, view, top_k=None, create_graph=True)
            wanted = signal[:, index]  # (B, T)
            total = total + (wanted - own).square().sum() / wanted.count_nonzero().clamp(min=1)
        return total


def views(logits: Float[Tensor, "batch class"]) -> list[Float[Tensor, ""]]:
    """Return the scalars whose gradients make the maps, summed over the batch.

    Two classes: the logits' difference. The paper's view is the cross-entropy with the gold label, whose
    gradient is that of the difference times ±(1 − p): normalised, the maps are the same, but the difference's
    does not vanish in float32 when the model is sure. A regression: the score, for the same reason (the paper's
    view is the squared error, whose gradient is the score's times twice the error). More classes: −log p_c for
    every class c. The authors average over the batch; as each map is normalised, a sum is the same.
    """
    if logits.shape[1] == 1:
        return [logits.sum()]
    if logits.shape[1] == 2:
        return [(logits[:, 1] - logits[:, 0]).sum()]
    log_probabilities = torch.log_softmax(logits, dim=-1)
    return [-log_probabilities[:, index].sum() for index in range(logits.shape[1])]


def attribution_map(
    forward: ForwardPass, view: Float[Tensor, ""], *, top_k: int | None, create_graph: bool
) -> Float[Tensor, "batch token"]:
    """Return ‖g ⊙ E‖₂ over the width, scaled to L2 norm 1 over each example's tokens; 0 on padding.

    g = ∂view/∂E at the embedding block's output E. `top_k` keeps the K largest |g ⊙ E| a token before
    the norm. A map that is zero everywhere stays zero.
    """
    (gradient,) = torch.autograd.grad(view, forward.embeddings, create_graph=create_graph, retain_graph=True)
    product = gradient * forward.embeddings  # (B, T, D)
    if top_k is not None and top_k < product.shape[-1]:
        kept = product.abs().topk(top_k, dim=-1).indices
        product = torch.zeros_like(product).scatter(-1, kept, product.gather(-1, kept))
    return unit_norm(l2_norm(product, forward.mask))
