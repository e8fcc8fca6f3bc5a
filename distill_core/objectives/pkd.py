"""Patient KD: the student's [CLS] states follow the teacher's, layer by layer.

Source: Sun et al., *Patient Knowledge Distillation for BERT Model Compression*, EMNLP 2019, arXiv 1908.09355.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.attribution.reduce import unit_norm
from distill_core.errors import ConfigError
from distill_core.objectives.base import Counts, ForwardPass, Signal, full_precision, number_of, per_count

Pairs = tuple[tuple[int, int], ...]  # a student's layer and the teacher's it follows, counted from 1


def layer_pairs(student_layers: int, teacher_layers: int, strategy: str) -> Pairs:
    """Return which inner layer of the teacher each inner layer of the student follows; neither last layer takes part.

    `skip`: evenly spaced, which for 6 of 12 layers are 2, 4 … 10 (other depths, half a layer rounded up: ours).
    `last`: the teacher's last ones, 7 … 11 of 12. ConfigError where there are no such layers.
    """
    inner = range(1, student_layers)
    if strategy == "last":
        pairs = tuple((own, teacher_layers - student_layers + own) for own in inner)
    else:
        evenly = ((2 * own * teacher_layers + student_layers) // (2 * student_layers) for own in inner)
        pairs = tuple((own, min(max(1, wanted), teacher_layers - 1)) for own, wanted in zip(inner, evenly, strict=True))
    if not pairs or min(wanted for _, wanted in pairs) < 1:
        raise ConfigError(
            f"A student of {student_layers} layers has none that PKD-{strategy} can match with a teacher of "
            f"{teacher_layers}: wanted two layers or more each, and for PKD-last no more than the teacher's."
        )
    return pairs


@dataclass(frozen=True)
class Pkd:
    """The PKD term on the [CLS] states, scaled to length 1, of the matched layers (`pairs`)."""

    pairs: Pairs
    key: str = "pkd"
    by_token: frozenset[str] = frozenset()

    def signal(self, teacher: ForwardPass) -> Signal:
        """Return `states` (batch, layer, width), of L2 norm 1."""
        return {"states": cls_states(teacher, [wanted for _, wanted in self.pairs]).detach()}

    def counts(self, signal: Signal) -> Counts:
        """Return the number of examples."""
        return {self.key: number_of(signal["states"])}

    def losses(
        self, student: ForwardPass, signal: Signal, _: torch.Generator, counts: Counts
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the squared difference, averaged over batch, layers and width (as GKD's code has it); at most 4 / D.

        Sun et al. add up over layers and width: the same but for a factor, which the weight carries.
        """
        own = cls_states(student, [own for own, _ in self.pairs])
        apart = (signal["states"] - own).square().mean(dim=(1, 2))
        return {self.key: per_count(apart.sum(), counts[self.key])}


def cls_states(forward: ForwardPass, layers: Sequence[int]) -> Float[Tensor, "batch layer width"]:
    """Return the states at [CLS] after some layers (counted from 1), each scaled to length 1."""
    return unit_norm(full_precision(torch.stack([forward.states[layer - 1][:, 0] for layer in layers], dim=1)))
