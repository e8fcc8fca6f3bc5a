"""What every distillation method is given and gives back."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.errors import ConfigError
from distill_core.models.encoder import embed, logits_and_states, logits_from_embeddings
from distill_core.models.tokenization import Inputs

TeacherTargets = Mapping[str, Tensor]  # what the student must match, by name; the first axis of each is the batch
Counts = dict[str, Tensor]  # what the sums of each term are divided by, one number or one for each sum


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass with its graph: E (the embedding block's output, requires grad), logits, inputs, gold labels.

    `states`: the state after each encoder layer but the last, in order, part of the same graph. `run`: returns the
    logits of other points in the place of E, any number of copies of the batch one after another. `blank`: returns
    E with [MASK] in the place of every token.
    """

    embeddings: Float[Tensor, "batch token width"]
    logits: Float[Tensor, "batch class"]
    inputs: Inputs
    labels: Shaped[Tensor, " batch"]
    states: tuple[Float[Tensor, "batch token width"], ...]
    run: Callable[[Float[Tensor, "point token width"]], Float[Tensor, "point class"]]
    blank: Callable[[], Float[Tensor, "batch token width"]]

    @property
    def mask(self) -> Bool[Tensor, "batch token"]:
        """True where there is a token, False at padding."""
        return self.inputs.mask

    @property
    def content(self) -> Bool[Tensor, "batch token"]:
        """True where there is a token of the text, neither padding nor special."""
        return self.mask & ~self.inputs.special

    @property
    def answers(self) -> Float[Tensor, "batch class"]:
        """What is answered: the classes' probabilities, or a regression's score."""
        return answers_of(self.logits)

    def answers_without(self, erased: Bool[Tensor, "batch token erasure"]) -> Float[Tensor, "batch erasure class"]:
        """Return the answers when [MASK] stands in the place of some tokens; all erasures are run as one batch."""
        blank, count = self.blank(), erased.shape[2]
        points = [torch.where(erased[:, :, at, None], blank, self.embeddings) for at in range(count)]
        found: Tensor = answers_of(self.run(torch.cat(points))).unflatten(0, (count, -1))
        return found.transpose(0, 1)


def answers_of(logits: Float[Tensor, "batch class"]) -> Float[Tensor, "batch class"]:
    """Return probabilities; a regression's one logit, the score, as it is."""
    return torch.softmax(logits, dim=1) if logits.shape[1] > 1 else logits


def full_precision(values: Tensor) -> Tensor:
    """Return bfloat16 as float32, anything else as it is."""
    return values.float() if values.dtype == torch.bfloat16 else values


def number_of(examples: Tensor) -> Int[Tensor, ""]:
    """Return how many examples there are along the first axis, where they are."""
    return torch.tensor(len(examples), device=examples.device)


def per_count(sums: Float[Tensor, "*part"], counts: Int[Tensor, "*part"]) -> Float[Tensor, ""]:
    """Return the sums, each divided by its count, added up; nothing is divided by 0."""
    return (sums / counts.clamp(min=1)).sum()


def forward_pass(
    network: PreTrainedModel,
    embeddings: Float[Tensor, "batch token width"],
    inputs: Inputs,
    labels: Shaped[Tensor, " batch"],
    mask_id: int | None,
    mixed: bool = False,
) -> ForwardPass:
    """Run a network from the output of its embedding block; `mask_id`: of the tokenizer's [MASK], if it has one.

    `mixed`: let PyTorch's autocast compute what stands it in bfloat16; E, its gradient and the logits are float32.
    """

    def precision() -> AbstractContextManager[object]:
        return torch.autocast(embeddings.device.type, torch.bfloat16) if mixed else nullcontext()

    with precision():
        logits, states = logits_and_states(network, embeddings, inputs)

    def run(points: Tensor) -> Tensor:
        copies = inputs.repeat(len(points) // len(embeddings))
        with precision():
            return full_precision(logits_from_embeddings(network, points, copies))

    def blank() -> Tensor:
        if mask_id is None:
            raise ConfigError("The tokenizer has no [MASK], which this method erases with; choose another method.")
        return embed(network, inputs, torch.full_like(inputs.input_ids, mask_id))

    return ForwardPass(embeddings, full_precision(logits), inputs, labels, states, run, blank)


class Objective(Protocol):
    """What is learned beside plain KD. Its repr names every setting that changes the targets."""

    @property
    def key(self) -> str:
        """The method's name in settings and files."""
        ...

    @property
    def by_token(self) -> frozenset[str]:
        """The parts of the targets whose second axis is the token; they are 0 on padding."""
        ...

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return what the student must match, computed from the teacher alone; carries no graph."""
        ...

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return what each term's sums are divided by; the counts of a batch's parts add up to the batch's."""
        ...

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, draw: torch.Generator, counts: Counts, /
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the method's terms by name for a batch or a part of one; those of the parts add up to the batch's.

        Differentiable in the student's parameters. `draw`: where a method takes its random numbers from, on the CPU.
        `counts`: those of the whole batch.
        """
        ...
