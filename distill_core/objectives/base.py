"""What every distillation method is given and gives back."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Bool, Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass with its graph: E (the embedding block's output, requires grad), logits, mask, gold labels."""

    embeddings: Float[Tensor, "batch token width"]
    logits: Float[Tensor, "batch class"]
    mask: Bool[Tensor, "batch token"]
    labels: Shaped[Tensor, " batch"]


class Method(Protocol):
    """A term beside plain KD. Its repr names every setting that changes the signal."""

    @property
    def key(self) -> str:
        """The method's name in settings, metrics and files."""
        ...

    def signal(self, teacher: ForwardPass) -> Float[Tensor, "batch view token"]:
        """Return what the student must match, computed from the teacher alone; 0 on padding, no graph."""
        ...

    def loss(self, student: ForwardPass, signal: Float[Tensor, "batch view token"]) -> Float[Tensor, ""]:
        """Return the term for one batch, differentiable in the student's parameters."""
        ...
