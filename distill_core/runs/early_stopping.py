"""When a training ends before its last step, and which of its evaluations was the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass
class Stopping:
    """Decides on early stopping by one measured value, of which larger is better.

    `monitor`: its name. `patience`: how many evaluations in a row without a better value end the training, None for no
    such limit. `seconds`: how much training time ends it, None for no such limit. The evaluation before the first step
    does not count.
    """

    monitor: str
    patience: int | None = None
    seconds: float | None = None
    best: float = -math.inf
    best_step: int = 0
    idle: int = 0  # evaluations since the best

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Record an evaluation; an undefined value is not better."""
        if step == 0:
            return
        if values.get(self.monitor, math.nan) > self.best:
            self.best, self.best_step, self.idle = values[self.monitor], step, 0
        else:
            self.idle += 1

    def reason(self, step: int, seconds: float) -> str | None:
        """Return why the training should end after this step; None where it should not."""
        if self.patience is not None and self.idle >= self.patience:
            best = (
                f"the best was {self.best:.4f} at step {self.best_step}" if self.best_step else "it was never defined"
            )
            return f"Stopped early at step {step}: {self.idle} evaluations without a better {self.monitor}; {best}."
        if self.seconds is not None and seconds >= self.seconds:
            return f"Ended at step {step}: the limit of training time was reached after {seconds / 60:.1f} minutes."
        return None

    def numbers(self) -> dict[str, float | int | None]:
        """Return the state as JSON values, for `set`."""
        return {"best": self.best if self.best_step else None, "best_step": self.best_step, "idle": self.idle}

    def set(self, numbers: Mapping[str, float | int | None]) -> None:
        """Restore the state from what `numbers` returned; TypeError or KeyError for anything else."""
        best = numbers["best"]
        self.best = -math.inf if best is None else float(best)
        self.best_step, self.idle = int(numbers["best_step"] or 0), int(numbers["idle"] or 0)


def best_step(points: Sequence[tuple[int, float]]) -> int:
    """Return the step of the evaluation that a run keeps as its best, 0 where there is none yet."""
    stopping = Stopping("value")
    for step, value in points:
        stopping.update(step, {"value": value})
    return stopping.best_step
