"""What every distillation method is given and gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.encoding import Inputs
from distill_core.models import logits_and_states, logits_from_embeddings

Signal = Mapping[str, Tensor]  # what the student must match, by name; the first axis of each is the batch


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass with its graph: E (the embedding block's output, requires grad), logits, mask, gold labels.

    `states`: the state after each encoder layer but the last, in order, part of the same graph. `run`: returns the
    logits of other points in the place of E, any number of copies of the batch one after another.
    """

    embeddings: Float[Tensor, "batch token width"]
    logits: Float[Tensor, "batch class"]
    mask: Bool[Tensor, "batch token"]
    labels: Shaped[Tensor, " batch"]
    states: tuple[Float[Tensor, "batch token width"], ...]
    run: Callable[[Float[Tensor, "point token width"]], Float[Tensor, "point class"]]


def forward_pass(
    network: PreTrainedModel,
    embeddings: Float[Tensor, "batch token width"],
    inputs: Inputs,
    labels: Shaped[Tensor, " batch"],
) -> ForwardPass:
    """Run a network from the output of its embedding block."""
    logits, states = logits_and_states(network, embeddings, inputs)
    each = torch.arange(len(embeddings), device=embeddings.device)

    def run(points: Tensor) -> Tensor:
        return logits_from_embeddings(network, points, inputs.select(each.repeat(len(points) // len(each))))

    return ForwardPass(embeddings, logits, inputs.mask, labels, states, run)


class Method(Protocol):
    """What is learned beside plain KD. Its repr names every setting that changes the signal."""

    @property
    def key(self) -> str:
        """The method's name in settings and files."""
        ...

    @property
    def by_token(self) -> frozenset[str]:
        """The parts of the signal whose second axis is the token; they are 0 on padding."""
        ...

    def signal(self, teacher: ForwardPass) -> Signal:
        """Return what the student must match, computed from the teacher alone; carries no graph."""
        ...

    def losses(self, student: ForwardPass, signal: Signal) -> dict[str, Float[Tensor, ""]]:
        """Return the method's terms for one batch by name, differentiable in the student's parameters."""
        ...
