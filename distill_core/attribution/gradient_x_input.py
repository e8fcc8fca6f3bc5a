"""Gradient × input: the first-order share of each token in F; integrated gradients from zero in one step."""

from dataclasses import dataclass

from distill_core.attribution.base import Attribution, Question, answer
from distill_core.attribution.gradient import input_gradients
from distill_core.attribution.reduce import signed_sum


@dataclass(frozen=True)
class GradientXInput:
    """Σ over the width of x ⊙ ∂F/∂x, signed (Shrikumar et al. 2016, arXiv 1605.01713)."""

    title = "Gradient × input"
    signed = True
    by_word = False
    default_baseline = None

    def maps(self, question: Question) -> list[Attribution]:
        """Return the maps; one forward pass for all targets."""
        product = question.embeddings[:, None] * input_gradients(question)  # (B, K, T, D)
        return answer(question, signed_sum(product, question.inputs.mask[:, None]))
