"""AD-KD: the student matches the teacher's attribution maps, integrated gradients with one or more steps.

Source: Wu et al., *AD-KD: Attribution-Driven Knowledge Distillation for Language Model Compression*,
ACL 2023, arXiv 2305.10010, and its authors' code (one-step maps in all published recipes).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from distill_core.attribution.reduce import l2_norm
from distill_core.objectives.base import NOTHING, Counts, ForwardPass, TeacherTargets, per_count
from distill_core.objectives.views import every_view, losses_of_views

DISTANCES: dict[str, Callable[..., Tensor]] = {"l2": F.mse_loss, "l1": F.l1_loss, "smooth_l1": F.smooth_l1_loss}


@dataclass(frozen=True)
class AdKd:
    """The AD-KD term.

    `top_k`: number of dimensions of each token in the teacher's map, None for all D. `steps`: the number m of points on
    the path. `norm`: l2 or l1, the norm that is 1 in each map. `distance`: one of DISTANCES.
    The views of the paper are the cross-entropy with the gold label (two classes), the squared error (a regression) and
    −log p_c for every class c (three classes or more). With one step the scaling makes the log-odds of the classes,
    or the score, give the same map.
    """

    top_k: int | None = None
    steps: int = 1
    norm: str = "l2"
    distance: str = "l2"
    key: ClassVar[str] = "ad_kd"
    token_axes: ClassVar[Mapping[str, tuple[int, ...]]] = {"maps": (0,)}
    needs: ClassVar[frozenset[str]] = NOTHING

    @property
    def cache_key(self) -> str:
        """Name everything the targets depend on; they do not depend on the distance."""
        settings = f"top_k={self.top_k!r}, steps={self.steps!r}, norm={self.norm!r}"
        return f"AdKd({settings}, key='ad_kd', by_token=frozenset({{'maps'}}))"  # the text of version 0.1

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return `maps` (batch, token, view), each scaled to norm 1 over the tokens of its example."""
        return {"maps": self._maps(teacher, self.top_k, create_graph=False).detach()}

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return the number of nonzero entries of each view's maps."""
        return {self.key: targets["maps"].count_nonzero(dim=(0, 1))}

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return Σ_views Σ d(a_teacher, a_student) / number of nonzero teacher entries.

        Differentiable in the student's parameters (second order); 0 when the maps are equal.
        """
        student_maps = self._maps(student, None, create_graph=True)
        distances = DISTANCES[self.distance](student_maps, targets["maps"], reduction="none")  # (B, T, views)
        return {self.key: per_count(distances.sum(dim=(0, 1)), counts[self.key])}

    def _maps(
        self, forward: ForwardPass, top_k: int | None, *, create_graph: bool
    ) -> Float[Tensor, "batch token view"]:
        """Return ‖g ⊙ E‖₂ over the width for every view, scaled over the tokens of each example; 0 on padding.

        g is the mean gradient at the points α·E, α = 1/m … 1. With `top_k`, only the K largest |g ⊙ E| of each token
        enter the norm. A map that is zero everywhere stays zero.
        """
        maps = []
        for gradient in self._gradients(forward, create_graph):
            product = gradient * forward.embeddings  # (B, T, D)
            if top_k is not None and top_k < product.shape[-1]:
                largest = product.abs().topk(top_k, dim=-1).indices  # (B, T, K)
                product = torch.zeros_like(product).scatter(-1, largest, product.gather(-1, largest))
            scores = l2_norm(product, forward.mask)  # (B, T)
            length = torch.linalg.vector_norm(scores, ord=1 if self.norm == "l1" else 2, dim=-1, keepdim=True)
            maps.append(torch.where(length > 0, scores / length.clamp(min=torch.finfo(scores.dtype).tiny), 0.0))
        return torch.stack(maps, dim=2)

    def _gradients(self, forward: ForwardPass, create_graph: bool) -> list[Float[Tensor, "batch token width"]]:
        """Return the mean gradient of each view on the path; all points are computed as one batch."""
        if self.steps == 1:
            points, views = forward.embeddings, every_view(forward.logits)
        else:
            shares = torch.arange(1, self.steps + 1).to(forward.embeddings) / self.steps
            points = (shares[:, None, None, None] * forward.embeddings).flatten(0, 1)  # (m·B, T, D)
            points = points if points.requires_grad else points.requires_grad_()
            views = losses_of_views(forward.run(points), forward.labels.repeat(self.steps), self.steps)
        gradients = (
            torch.autograd.grad(view, points, create_graph=create_graph, retain_graph=True)[0] for view in views
        )
        return [gradient.unflatten(0, (self.steps, -1)).mean(dim=0) for gradient in gradients]
