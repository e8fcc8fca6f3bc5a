"""Warnings about a run, from its numbers: a weak teacher, a diverging loss, a student that guesses, idle terms.

A run's numbers are a series: metric name -> (step, value) in the order they were measured.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from distill_core.config.methods import terms_of
from distill_core.config.run_config import RunConfig
from distill_core.data.tasks import get_task
from distill_core.runs.metric_names import CONSTANT, COSINE, SHARE, TEACHER, VALIDATION

Points = Sequence[tuple[int, float]]
Series = Mapping[str, Points]

IDLE = 0.01  # a term with a smaller share of the gradient has no effect
WINDOW = 5  # how many measurements in a row a warning about a term or a loss needs
COLLAPSED = 0.03  # a student whose metric is no more than this above a constant prediction's is guessing
EXPLODED = 10.0  # a loss on the labels that has grown by this factor diverges, if it also exceeds BAD
BAD = 1.5  # a loss on the labels that is worse than any guess
FEW_STEPS = 100  # with fewer steps, the short training is itself the likely cause
NEAR_CHANCE = 0.02  # a teacher no more than this above a constant prediction has next to nothing to teach


def alarms(config: RunConfig, series: Series) -> list[str]:
    """Return the warnings about a run as sentences, a cause before its effects."""
    task, warnings = get_task(config.task), list[str]()
    weak = weak_teacher(config, series)
    if weak is not None:
        teacher, constant = (_number(value) for value in weak)
        warnings.append(
            f"The teacher’s {task.metric.replace('_', ' ')} is {teacher}; {task.baseline_title}: {constant}. "
            "There is next to nothing to learn from it: choose another teacher or other data."
        )
    if (times := exploded(series)) is not None:
        warnings.append(
            f"The loss on the labels is {times:,.0f} times as large as at the beginning: the training diverges. "
            "Lower the learning rate or the method weight."
        )
    if collapsed(config, series):
        words = (
            "does no better than the majority-class baseline"
            if task.span is None
            else "gives scores without correlation"
        )
        others = [] if set(config.weights) == {"ce", "kd"} else ["a smaller method weight"]
        others.append("a higher learning rate")
        if config.steps < FEW_STEPS:
            advice = f"It has only {config.steps} steps: try more steps first, then {' or '.join(others)}."
        else:
            advice = f"Try {', '.join(others)} or more steps."
        likely = "The likely cause is the teacher, which does hardly better itself."
        warnings.append(
            f"The student {words}, yet its maps look more like the teacher’s: such agreement says little. "
            f"{advice if weak is None else likely}"
        )
    titles = {term.name: term.title for term in terms_of(config.method, task.span is not None, config.kd_form)}
    idle = "less than 1 % of the gradient. At this weight the term does nothing."
    return [*warnings, *(f"{titles[name]}: {idle}" for name in idle_terms(config, series))]


def idle_terms(config: RunConfig, series: Series) -> list[str]:
    """Return the terms with a weight above 0 that had no effect on the student in the last WINDOW measurements."""
    idle = []
    for name, weight in config.weights.items():
        first_step = 0 if name in ("ce", "kd") else config.method_delay + config.method_ramp
        late = [share for step, share in series.get(SHARE + name, ())[-WINDOW:] if step > first_step]
        if weight > 0 and len(late) == WINDOW and max(late) < IDLE:
            idle.append(name)
    return idle


def exploded(series: Series) -> float | None:
    """Return how many times as large the loss on the labels has become, None where it has not exploded."""
    points = series.get("ce", ())
    if len(points) < 2 * WINDOW:
        return None
    first, last = (statistics.median(value for _, value in some) for some in (points[:WINDOW], points[-WINDOW:]))
    return last / first if last > BAD and last > EXPLODED * first > 0 else None


def collapsed(config: RunConfig, series: Series) -> bool:
    """Return whether a student, after a third of its steps, only guesses while its unsigned maps agree more.

    It guesses where its metric is no better than a constant prediction's, or undefined, as the correlation of scores
    that are all equal.
    """
    metric = get_task(config.task).metric
    constant = constant_score(series, metric)
    scores, cosines = series.get(VALIDATION + metric, ()), series.get(COSINE, ())
    if constant is None or len(scores) < 2 or len(cosines) < 2 or scores[-1][0] < config.steps / 3:
        return False
    return not scores[-1][1] > constant + COLLAPSED and cosines[-1][1] > cosines[0][1]


def weak_teacher(config: RunConfig, series: Series) -> tuple[float, float] | None:
    """Return the metrics of a teacher near chance and of a constant prediction; None for other teachers."""
    metric = get_task(config.task).metric
    known, constant = teacher_score(series, metric), constant_score(series, metric)
    if known is None or constant is None or known > constant + NEAR_CHANCE:
        return None
    return known, constant


def constant_score(series: Series, metric: str) -> float | None:
    """Return the metric of predicting the same class for every example; None for a run that did not measure it."""
    return _last(series, CONSTANT + metric)


def teacher_score(series: Series, metric: str) -> float | None:
    """Return the teacher's metric on the validation data; None for a run that did not measure it."""
    return _last(series, TEACHER + metric)


def _last(series: Series, name: str) -> float | None:
    points = series.get(name, ())
    return points[-1][1] if points else None


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not defined"
