"""The curves of a run: their lines, their marks and the points they need."""

from collections.abc import Sequence
from math import isfinite

from distill_core.data.tasks import get_task
from distill_core.runs.diagnostics import Series, constant_score, teacher_score
from distill_core.runs.early_stopping import best_step
from distill_core.runs.metric_names import (
    LOSS,
    STEP_SECONDS,
    VALIDATION,
    WEIGHTED,
    evaluated_names,
    main_metric,
    metric_title,
)
from distill_core.runs.run import Run
from pages.components.palette import metric_color
from pages.components.streaming_chart import Line, Mark, Notes, Panel, draw, score_level

LOSS_CHART, AGREEMENT_CHART = "loss_curves", "agreement_curves"  # the charts' keys
HEIGHT = 300


def feed_name(run: Run) -> str:
    """Return the name of the feed that a run's points travel through."""
    return f"run.{run.id}"


def axis_steps(run: Run) -> int:
    """Return the last step on the axis: the configured one, or where the run ended before it."""
    over = not run.active and run.state != "paused"
    return run.step if over and run.step else run.config.steps


def draw_loss_curves(run: Run) -> None:
    """Draw the terms of a run's loss, weighted or raw."""
    terms = list(run.config.weights)
    weighted = _curve_lines(run, [LOSS, *(WEIGHTED + term for term in terms)])
    sets = {"Weighted": [Panel(weighted)], "Raw": [Panel(_curve_lines(run, terms))]}
    alt = "Loss terms over the steps"
    draw(
        LOSS_CHART,
        feed_name(run),
        sets,
        alt=alt,
        steps=axis_steps(run),
        height=HEIGHT,
        empty=_empty_text(run, "step 1"),
        layouts=True,
        file=f"{run.id}-loss",
    )


def draw_agreement(run: Run) -> None:
    """Draw a run's validation metric and, below it, the agreement with its teacher."""
    metric, *agreement = evaluated_names(get_task(run.config.task))
    panels = [
        Panel(_curve_lines(run, [metric]), metric_title(metric), bounded=True, share=0.42),
        Panel(_curve_lines(run, agreement), "Agreement with the teacher", bounded=True, share=0.58),
    ]
    draw(
        AGREEMENT_CHART,
        feed_name(run),
        {"": panels},
        alt="Validation metric and agreement with the teacher over the steps",
        steps=axis_steps(run),
        height=HEIGHT,
        empty=_empty_text(run, "the initial evaluation"),
        controls=False,
        file=f"{run.id}-agreement",
    )


def chart_points(run: Run, series: Series) -> Series:
    """Return the points that a run's charts need."""
    terms = list(run.config.weights)
    names = [
        LOSS,
        *terms,
        *(WEIGHTED + term for term in terms),
        *evaluated_names(get_task(run.config.task)),
        STEP_SECONDS,
    ]
    return {name: series[name] for name in names if name in series}


def chart_notes(run: Run, series: Series) -> dict[str, Notes]:
    """Return the notes of a run's charts: its best checkpoint, and the scores of its teacher and the baseline."""
    task = get_task(run.config.task)
    monitor = run.config.monitor if "/" in run.config.monitor else main_metric(task)
    best = best_step(series.get(monitor, ()))
    marks = [Mark(best, "best checkpoint")] if best else []
    known = {task.baseline_title: constant_score(series, task.metric), "teacher": teacher_score(series, task.metric)}
    levels = [score_level(title, value) for title, value in known.items() if value is not None and isfinite(value)]
    return {LOSS_CHART: Notes(marks), AGREEMENT_CHART: Notes(marks, levels)}


def _curve_lines(run: Run, names: Sequence[str]) -> list[Line]:
    return [
        Line(
            name,
            metric_title(name.removeprefix(WEIGHTED)),
            metric_color(name),
            heavy=name == LOSS or name.startswith(VALIDATION),
            batch=run.config.batch_size,
        )
        for name in names
    ]


def _empty_text(run: Run, first: str) -> str:
    return f"The first point appears after {first}." if run.active else "Nothing was measured."
