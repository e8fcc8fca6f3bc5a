"""The loss of a run: L = (1 − α)·CE + α·KD(τ) + w·(the method's terms), with the weight of each term at a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from distill_core.objectives.base import Counts, ForwardPass, Objective, TeacherTargets
from distill_core.objectives.kd import SoftTargets, label_loss

Terms = dict[str, tuple[Float[Tensor, ""], float]]  # by name: the raw value and its weight


@dataclass(frozen=True)
class Part:
    """A part of a batch: part `index` at step `step` of `steps`, steps counted from 1.

    `examples` and `counts`: those of the whole batch, which the terms of every part are divided by.
    """

    step: int
    steps: int
    examples: int
    counts: Counts
    index: int = 0


@dataclass(frozen=True)
class Loss:
    """The loss. `weights`: of every term by name (`RunConfig.weights`).

    The weights of the method's terms are 0 for `delay` steps, then rise linearly over `ramp` steps (ours: a large
    weight before the student knows its task can make it predict one class for every example). The terms are computed
    at the first of every `every` steps (ours). `seed`: of the method's random numbers, which depend on seed and step
    alone.
    """

    weights: Mapping[str, float]
    objective: Objective | None = None
    soft: SoftTargets = field(default_factory=SoftTargets)
    delay: int = 0
    ramp: int = 0
    every: int = 1
    seed: int = 0

    def counts(self, batch_targets: Sequence[TeacherTargets]) -> Counts:
        """Return the divisors of the method's terms for a batch, from the targets of its parts."""
        total: Counts = {}
        objective = self.objective
        for counts in [] if objective is None else [objective.counts(targets) for targets in batch_targets]:
            for name, count in counts.items():
                total[name] = total[name] + count if name in total else count
        return total

    def terms(
        self, student: ForwardPass, teacher: Float[Tensor, "batch class"], targets: TeacherTargets, part: Part
    ) -> Terms:
        """Return every term for a batch or a part of it; `teacher`: its logits, `targets`: the method's.

        The terms of a batch's parts add up to the batch's. The method does not draw from the random numbers of the
        rest of the training.
        """
        step, part_of_batch = part.step, len(student.logits) / part.examples
        soft = self.soft.loss(student.logits, teacher, step, part.steps)
        terms = {
            "ce": (part_of_batch * label_loss(student.logits, student.labels), self.weights["ce"]),
            "kd": (part_of_batch * soft, self.weights["kd"]),
        }
        if self.objective is None or (step - 1) % self.every:
            return terms
        share = self.share_at(step)
        devices = [student.logits.device] if student.logits.is_cuda else []
        seed = self.seed * 1_000_003 + step
        with torch.random.fork_rng(devices):
            # Without a seed of their own, the method's passes would have the same dropout as the next step.
            torch.manual_seed(seed + 500_000 * (1 + part.index))
            losses = self.objective.losses(student, targets, torch.Generator().manual_seed(seed), part.counts)
        return terms | {name: (raw, share * self.weights[name]) for name, raw in losses.items()}

    def share_at(self, step: int) -> float:
        """Return the share of their weights, 0 to 1, that the method's terms have at a step."""
        return min(1.0, max(0, step - self.delay) / (self.ramp + 1))
