"""AD-KD: the student matches the teacher's attribution map, one-step form.

Source: Wu et al., *AD-KD: Attribution-Driven Knowledge Distillation for Language Model Compression*,
ACL 2023, arXiv 2305.10010, and its authors' code (one-step maps in all published recipes).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.attribution.reduce import l2_norm, unit_norm
from distill_core.objectives.base import ForwardPass, Signal
from distill_core.objectives.views import every_view


@dataclass(frozen=True)
class AdKd:
    """The AD-KD term. `top_k`: dimensions K the teacher's map keeps a token, None for all D.

    Views: the paper's are the cross-entropy with the gold label (two classes), the squared error (a regression), and
    −log p_c for every class c of more. As each map is scaled, these are the log-odds' and the score's.
    """

    top_k: int | None = None
    key: str = "ad_kd"
    by_token: frozenset[str] = frozenset({"maps"})

    def signal(self, teacher: ForwardPass) -> Signal:
        """Return `maps` (batch, token, view), each of L2 norm 1 over its tokens."""
        views = every_view(teacher.logits)
        maps = [attribution_map(teacher, view, top_k=self.top_k, create_graph=False) for view in views]
        return {"maps": torch.stack(maps, dim=2).detach()}

    def losses(self, student: ForwardPass, signal: Signal) -> dict[str, Float[Tensor, ""]]:
        """Return Σ_views Σ (a_teacher − a_student)² / number of nonzero teacher entries.

        Differentiable in the student's parameters (second order); 0 when the maps are equal.
        """
        total = student.logits.new_zeros(())
        for index, view in enumerate(every_view(student.logits)):
            own = attribution_map(student, view, top_k=None, create_graph=True)
            wanted = signal["maps"][:, :, index]  # (B, T)
            total = total + (wanted - own).square().sum() / wanted.count_nonzero().clamp(min=1)
        return {self.key: total}


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
