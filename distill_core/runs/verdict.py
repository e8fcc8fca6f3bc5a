"""What a run achieved, from its first evaluation to that of its student."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from distill_core.config.run_config import PROBE_EXAMPLES
from distill_core.data.tasks import Task
from distill_core.runs.diagnostics import COLLAPSED, Series, constant_score
from distill_core.runs.events import DataUsed
from distill_core.runs.metric_names import LABEL_LOYALTY, SIGNED_COSINE, main_metric

FEW_EXAMPLES = 30  # fewer validation examples than this: one of them moves accuracy by more than three points
Change = tuple[float, float]  # before training, and at the end


@dataclass(frozen=True)
class Verdict:
    """How a student changed. `score`: the task's first metric; `gap`: 1 − cosine of the signed maps.

    `label_loyalty`: share of the probe sentences with the teacher's prediction, None for a regression. `examples`: how
    many validation examples `score` is of, None where that was not recorded. `baseline`: the score of the
    majority-class baseline where the student is hardly or no better, else None.
    """

    score: Change
    gap: Change
    label_loyalty: Change | None
    examples: int | None
    baseline: float | None

    @property
    def too_few_examples(self) -> bool:
        """Whether there are too few examples to tell the change of the score from chance."""
        return self.examples is not None and self.examples < FEW_EXAMPLES

    @property
    def probe_examples(self) -> int | None:
        """How many examples the agreement is measured on, None where that was not recorded."""
        return None if self.examples is None else min(PROBE_EXAMPLES, self.examples)


def judge(task: Task, series: Series, used: Sequence[DataUsed] = (), until: int | None = None) -> Verdict | None:
    """Compare the first evaluation with the last one up to step `until`; None where there are not two of them."""
    changes = {name: _change(series, name, until) for name in (main_metric(task), SIGNED_COSINE, LABEL_LOYALTY)}
    score, cosine = changes[main_metric(task)], changes[SIGNED_COSINE]
    if score is None or cosine is None:
        return None
    constant = constant_score(series, task.metric)
    return Verdict(
        score,
        (1 - cosine[0], 1 - cosine[1]),
        changes[LABEL_LOYALTY],
        next((data.examples for data in used if data.split != "train"), None),
        constant if constant is not None and score[1] <= constant + COLLAPSED else None,
    )


def _change(series: Series, name: str, until: int | None) -> Change | None:
    values = [value for step, value in series.get(name, ()) if until is None or step <= until]
    return (values[0], values[-1]) if len(values) > 1 and all(map(math.isfinite, (values[0], values[-1]))) else None
