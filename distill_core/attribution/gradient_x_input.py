"""Gradient × input: the first-order share of each token in F; integrated gradients from zero in one step."""

from dataclasses import dataclass

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.attribution.gradient import input_gradients
from distill_core.attribution.reduce import signed_sum


@dataclass(frozen=True)
class GradientXInput:
    """Σ over the width of x ⊙ ∂F/∂x, signed (Shrikumar et al. 2016, arXiv 1605.01713)."""

    key = "gradient_x_input"

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the maps; one forward pass for all targets."""
        product = request.embeddings[:, None] * input_gradients(request)  # (B, K, T, D)
        return to_attributions(request, signed_sum(product, request.inputs.mask[:, None]))
