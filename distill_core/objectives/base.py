"""The contract of an objective: what a distillation method receives and returns."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.errors import ConfigError
from distill_core.models.encoder import embed, logits_and_layers, logits_from_embeddings
from distill_core.models.layers import LayerRecord
from distill_core.models.tokenization import Inputs

TeacherTargets = Mapping[str, Tensor]  # the values that the student must match, by name; the first axis is the batch
Counts = dict[str, Tensor]  # the divisors of each term, one number or one for each sum

NOTHING: frozenset[str] = frozenset()
STATES = frozenset({"states"})  # the input of each layer
PROJECTIONS = frozenset({"projections"})  # queries, keys and values of each layer
ATTENTIONS = frozenset({"attentions"})  # the attention weights of each layer


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass with its graph: E (the output of the embedding block, requires grad), logits, inputs, labels.

    `run`: returns the logits for other points instead of E, which may be several copies of the batch in a row.
    `blank`: returns E with [MASK] in place of every token. `layers`: a record of each encoder layer, part of the same
    graph, with what the objective needs (`Objective.needs`); empty if it needs nothing.
    """

    embeddings: Float[Tensor, "batch token width"]
    logits: Float[Tensor, "batch class"]
    inputs: Inputs
    labels: Shaped[Tensor, " batch"]
    run: Callable[[Float[Tensor, "point token width"]], Float[Tensor, "point class"]]
    blank: Callable[[], Float[Tensor, "batch token width"]]
    layers: tuple[LayerRecord, ...] = ()

    @property
    def states(self) -> tuple[Float[Tensor, "batch token width"], ...]:
        """The state after each encoder layer but the last, in order."""
        return tuple(layer.state for layer in self.layers[1:])

    @property
    def mask(self) -> Bool[Tensor, "batch token"]:
        """True where there is a token, False at padding."""
        return self.inputs.mask

    @property
    def content(self) -> Bool[Tensor, "batch token"]:
        """True at the tokens of the text, False at padding and special tokens."""
        return self.mask & ~self.inputs.special

    @property
    def answers(self) -> Float[Tensor, "batch class"]:
        """The probabilities of the classes, or the score of a regression."""
        return answers_of(self.logits)

    def answers_without(self, erased: Bool[Tensor, "batch token erasure"]) -> Float[Tensor, "batch erasure class"]:
        """Return the answers with [MASK] in place of the erased tokens; all erasures are computed as one batch."""
        blank, count = self.blank(), erased.shape[2]
        points = [torch.where(erased[:, :, at, None], blank, self.embeddings) for at in range(count)]
        answers: Tensor = answers_of(self.run(torch.cat(points))).unflatten(0, (count, -1))  # (erasures, B, C)
        return answers.transpose(0, 1)


def answers_of(logits: Float[Tensor, "batch class"]) -> Float[Tensor, "batch class"]:
    """Return probabilities; the one logit of a regression, its score, unchanged."""
    return torch.softmax(logits, dim=1) if logits.shape[1] > 1 else logits


def full_precision(values: Tensor) -> Tensor:
    """Return bfloat16 values as float32, any others unchanged."""
    return values.float() if values.dtype == torch.bfloat16 else values


def number_of(examples: Tensor) -> Int[Tensor, ""]:
    """Return the number of examples along the first axis, on the same device."""
    return torch.tensor(len(examples), device=examples.device)


def per_count(sums: Float[Tensor, "*part"], counts: Int[Tensor, "*part"]) -> Float[Tensor, ""]:
    """Return the total of the sums, each divided by its count; a count of 0 is treated as 1."""
    return (sums / counts.clamp(min=1)).sum()


def forward_pass(
    network: PreTrainedModel,
    embeddings: Float[Tensor, "batch token width"],
    inputs: Inputs,
    labels: Shaped[Tensor, " batch"],
    mask_id: int | None,
    mixed: bool = False,
    needs: frozenset[str] = NOTHING,
) -> ForwardPass:
    """Run a network from the output of its embedding block; `mask_id`: of the tokenizer's [MASK], if it has one.

    `mixed`: autocast to bfloat16 where supported; E, its gradient and the logits stay float32. `needs`: what to keep
    besides the logits; anything else costs neither time nor memory.
    """

    def precision() -> AbstractContextManager[object]:
        return torch.autocast(embeddings.device.type, torch.bfloat16) if mixed else nullcontext()

    with precision():
        if needs:
            logits, layers = logits_and_layers(
                network, embeddings, inputs, projections=needs >= PROJECTIONS, attentions=needs >= ATTENTIONS
            )
        else:
            logits, layers = logits_from_embeddings(network, embeddings, inputs), ()

    def run(points: Tensor) -> Tensor:
        copies = inputs.repeat(len(points) // len(embeddings))
        with precision():
            return full_precision(logits_from_embeddings(network, points, copies))

    def blank() -> Tensor:
        if mask_id is None:
            raise ConfigError(
                "The tokenizer has no [MASK] token, which this method needs; choose another method or teacher."
            )
        return embed(network, inputs, torch.full_like(inputs.input_ids, mask_id))

    return ForwardPass(embeddings, full_precision(logits), inputs, labels, run, blank, layers)


class Objective(Protocol):
    """What a distillation method adds to plain KD."""

    @property
    def key(self) -> str:
        """The method's name in settings and files."""
        ...

    @property
    def cache_key(self) -> str:
        """Name the method and every setting that changes its targets; equal keys mean equal targets."""
        ...

    @property
    def token_axes(self) -> Mapping[str, tuple[int, ...]]:
        """The token axes of each target that has any, counted from 0 without the batch; targets are 0 on padding.

        (B, T, …) has (0,), (B, heads, T, T) has (1, 2).
        """
        ...

    @property
    def needs(self) -> frozenset[str]:
        """What a forward pass must keep for it: NOTHING, STATES, PROJECTIONS, ATTENTIONS, or a union of these."""
        ...

    def targets(self, teacher: ForwardPass) -> TeacherTargets:
        """Return what the student must match, computed from the teacher alone; carries no graph."""
        ...

    def counts(self, targets: TeacherTargets) -> Counts:
        """Return what the sums of each term are divided by; the counts of a batch's parts add up to the batch's."""
        ...

    def losses(
        self, student: ForwardPass, targets: TeacherTargets, draw: torch.Generator, counts: Counts, /
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the terms by name for a batch or a part of one; the terms of the parts add up to the batch's.

        Differentiable in the student's parameters. `draw`: the generator of all random numbers, on the CPU.
        `counts`: those of the whole batch.
        """
        ...
