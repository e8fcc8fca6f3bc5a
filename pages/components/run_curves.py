"""A run's curves and how they are looked at: smoothed, on a log scale, over steps, examples or time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import plotly.graph_objects as go
import streamlit as st

from distill_core.runs import Run
from distill_core.tasks import get_task
from pages.components import charts, run_html

CURVE_POINTS = 500  # a longer curve is thinned out before it is sent to the browser
AXES = {"step": "Step", "examples": "Examples", "time": "Minutes of training"}

Points = Sequence[tuple[float, float]]
Series = Mapping[str, Points]


@dataclass(frozen=True)
class View:
    """How curves are looked at. `smoothing`: 0 for as measured, to 0.99; `axis`: one of AXES; `log`: of the loss."""

    smoothing: float = 0.0
    log: bool = False
    axis: str = "step"


def choose_view() -> View:
    """Draw the choice of how the curves are looked at, folded away, and return it."""
    with st.popover("View", icon=":material/timeline:", type="tertiary", key="distill.view"):
        words = "An exponential moving mean of the loss terms, as measured drawn faintly behind it."
        smoothing = st.slider("Smoothing", 0.0, 0.99, 0.0, 0.01, key="distill.smoothing", help=words)
        log = st.toggle("Loss on a log scale", key="distill.log")
        options = list(AXES)
        axis = st.segmented_control(
            "Over", options, format_func=AXES.__getitem__, default=options[0], required=True, key="distill.axis"
        )
    return View(smoothing, log, axis or options[0])


def draw_chart(
    run: Run, series: Series, names: Sequence[str], view: View, key: str, alt: str, constant: float | None = None
) -> None:
    """Draw some of a run's curves; `constant`: level of a line, given for metrics, none of which exceeds 1."""
    bounded = key == "agreement_curves"
    chosen = {name: series.get(name, ()) for name in names}
    if not any(chosen.values()):
        first = "the evaluation before step 1" if bounded else "step 1"
        words = f"The first point comes with {first}." if run.active else "No point was measured."
        st.html(run_html.waiting(words))
        return
    seconds = series.get("step_seconds", ())
    placed = {name: over(points, view.axis, run.config.batch_size, seconds) for name, points in chosen.items()}
    end = {"step": run.config.steps, "examples": run.config.steps * run.config.batch_size}.get(view.axis)
    figure = curves(placed, end, bounded, constant, get_task(run.config.task).chance_words, view)
    st.plotly_chart(figure, config=charts.CONFIG, key=key, alt=alt)


def curves(
    series: Series,
    end: float | None,
    bounded: bool,
    constant: float | None = None,
    chance: str = "",
    view: View = View(),
) -> go.Figure:
    """Return the curves in a frame from 0 to `end`, which is as wide as the run is long; None for as far as they go.

    `bounded`: metrics, none of which exceeds 1. `constant`: level of a line, which says `chance`.
    """
    if bounded:
        lowest = min((value for points in series.values() for _, value in points if math.isfinite(value)), default=0.0)
        shown = {name: thinned(points) for name, points in series.items()}
        figure = charts.metric_curves(shown, min(0.0, lowest) - 0.03, 1.03)
    else:
        shown = {name: thinned(smoothed(points, view.smoothing)) for name, points in series.items()}
        figure = charts.loss_curves(shown)
        if view.smoothing:
            for name, points in series.items():
                _add_faint(figure, name, thinned(points))
        figure.update_yaxes(type="log") if view.log else figure.update_yaxes(rangemode="tozero")
    if constant is not None:
        figure.add_hline(
            y=constant,
            line={"dash": "dot", "width": 1, "color": charts.metric_color("validation")},
            annotation={"text": chance, "font": {"size": 11}},
            annotation_position="bottom right",
        )
    figure.update_xaxes(title={"text": AXES[view.axis]})
    if end is not None:
        figure.update_xaxes(range=[-0.015 * end, 1.015 * end])  # room for the markers at both ends
    figure.update_layout(showlegend=False, height=270, margin={"t": 8, "b": 36}, uirevision=f"{view.axis} {view.log}")
    return figure


def smoothed(points: Points, weight: float) -> Points:
    """Return the exponential moving mean, (1 − w) Σ w^k v, divided by the sum of its weights; undefined values stay."""
    if weight == 0:
        return points
    mean, share, found = 0.0, 0.0, []
    for at, value in points:
        if math.isfinite(value):
            mean, share = weight * mean + (1 - weight) * value, weight * share + 1 - weight
            found.append((at, mean / share))
        else:
            found.append((at, value))
    return found


def over(points: Points, axis: str, batch_size: int, seconds: Points) -> Points:
    """Return points of (step, value) over another axis; `seconds`: that each step took, without evaluations."""
    if axis == "examples":
        return [(step * batch_size, value) for step, value in points]
    if axis == "time":
        steps = [step for step, _ in seconds]
        minutes = dict(zip(steps, accumulate(taken / 60 for _, taken in seconds), strict=True))
        return [(minutes.get(step, 0.0), value) for step, value in points if step in minutes or step == 0]
    return points


def thinned(points: Points, limit: int = CURVE_POINTS) -> Points:
    """Return at most `limit` points: the first, the last, and the smallest and largest of each stretch in between."""
    if len(points) <= limit:
        return points
    inner, stretches = range(1, len(points) - 1), (limit - 2) // 2
    kept = {0, len(points) - 1}
    for at in range(stretches):
        stretch = inner[at * len(inner) // stretches : (at + 1) * len(inner) // stretches]
        finite = [index for index in stretch if math.isfinite(points[index][1])]
        if finite:
            kept |= {choose(finite, key=lambda index: points[index][1]) for choose in (min, max)}
    return [points[index] for index in sorted(kept)]


def _add_faint(figure: go.Figure, name: str, points: Points) -> None:
    figure.add_scatter(
        x=[at for at, _ in points],
        y=[value if math.isfinite(value) else None for _, value in points],
        mode="lines",
        line={"color": charts.metric_color(name), "width": 1},
        opacity=0.25,
        hoverinfo="skip",
    )
