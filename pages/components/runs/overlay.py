"""The curves of the selected runs in common charts, each in its run's colour."""

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import isfinite, nan

import streamlit as st

from distill_core.data.tasks import get_task
from distill_core.runs.metric_names import (
    CONSTANT,
    EVALUATED,
    LOSS,
    SIGNED_COSINE,
    STEP_SECONDS,
    TEACHER,
    VALIDATION,
    main_metric,
    metric_title,
)
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from pages.components.run import markup
from pages.components.run.curves import axis_steps
from pages.components.streaming_chart import Level, Line, Notes, Panel, Points, draw, score_level, send

FEED = "overlay"
MAX_RUNS = 24  # that are drawn
NAMES_SECONDS = 10.0  # how long it may take until a new metric of a run at work is offered


def draw_overlay(store: Store, runs: Sequence[Run], colors: Mapping[str, str]) -> None:
    """Draw two charts: one of evaluations, one of any other curves, each with a choice of the curve."""
    if len(runs) > MAX_RUNS:
        st.caption(f"Curves of the first {MAX_RUNS} runs are shown.")
        runs = runs[:MAX_RUNS]
    known = list(dict.fromkeys(name for run in runs for name in _measured_names(store, run)))
    evaluated = [name for name in known if name.startswith(EVALUATED)]
    others = [name for name in known if name not in evaluated and name != STEP_SECONDS]
    if not known:
        st.caption("These runs have not measured anything yet.")
        return
    first = main_metric(get_task(runs[0].config.task))
    points: dict[str, Points] = {}
    for at, (column, names, usual) in enumerate(
        zip(st.columns(2, gap="medium"), (evaluated, others or known), ((first, SIGNED_COSINE), (LOSS,)), strict=True)
    ):
        with column:
            name = _draw_curve_choice(names, usual, f"runs.curve{at}")
            if name is not None:
                points |= _draw_chart(store, runs, colors, name, f"runs_chart{at}")
    stamp = sha256(repr([(run.id, run.started) for run in runs]).encode()).hexdigest()[:12]
    send(FEED, stamp, points)


def _draw_curve_choice(names: Sequence[str], usual: Sequence[str], key: str) -> str | None:
    """Draw the choice of a curve; its default is the first of the usual ones that was measured."""
    if st.session_state.get(key) not in names:
        st.session_state.pop(key, None)
    at = next((names.index(name) for name in usual if name in names), 0)
    return st.selectbox(
        "Curve",
        names,
        index=at if names else None,
        format_func=metric_title,
        key=key,
        label_visibility="collapsed",
        persist_state="session",
    )


def _draw_chart(store: Store, runs: Sequence[Run], colors: Mapping[str, str], name: str, key: str) -> dict[str, Points]:
    """Mount the chart of one metric of the runs, and return its points."""
    lines = [
        Line(
            f"{run.id} {name}",
            markup.display_name(run),
            colors[run.id],
            batch=run.config.batch_size,
            clock=f"{run.id} {STEP_SECONDS}",
        )
        for run in runs
    ]
    steps = max(map(axis_steps, runs))
    panel = Panel(lines, bounded=name.startswith(EVALUATED))
    notes = Notes(levels=_reference_levels(store, runs, name))
    draw(key, FEED, {metric_title(name): [panel]}, alt=metric_title(name), steps=steps, notes=notes)
    return {f"{run.id} {one}": _points(store, run, one) for run in runs for one in (name, STEP_SECONDS)}


def _reference_levels(store: Store, runs: Sequence[Run], name: str) -> list[Level]:
    """Return the teacher's and the baseline's score where they are the same for all runs."""
    tasks, metric = {run.config.task for run in runs}, name.removeprefix(VALIDATION)
    if len(tasks) > 1 or metric == name:
        return []
    levels = []
    for kind, title in ((TEACHER, "teacher"), (CONSTANT, get_task(*tasks).baseline_title)):
        known = {points[-1][1] if (points := _points(store, run, kind + metric)) else nan for run in runs}
        levels += [score_level(title, value) for value in known if len(known) == 1 and isfinite(value)]
    return levels


def _measured_names(store: Store, run: Run) -> list[str]:
    return _names_of_attempt(store, *_attempt_key(store, run), int(time.time() // NAMES_SECONDS) if run.active else 0)


def _points(store: Store, run: Run, name: str) -> Points:
    """Return a curve's (step, value); curves of ended runs are cached."""
    if run.active:
        return [(point.step, point.value) for point in store.metrics(run.id, names=(name,))]
    return _ended_points(store, *_attempt_key(store, run), name)


def _attempt_key(store: Store, run: Run) -> tuple[str, str, float | None, float | None]:
    """Return what identifies an attempt of a run."""
    return str(store.path), run.id, run.started, run.ended


@st.cache_data(max_entries=256, show_spinner=False)
def _names_of_attempt(
    _store: Store, path: str, run_id: str, started: float | None, ended: float | None, moment: int
) -> list[str]:
    del path, started, ended, moment  # part of the key
    return list(_store.latest(run_id))


@st.cache_data(max_entries=256, show_spinner=False)
def _ended_points(
    _store: Store, path: str, run_id: str, started: float | None, ended: float | None, name: str
) -> Points:
    del path, started, ended  # part of the key
    return [(point.step, point.value) for point in _store.metrics(run_id, names=(name,))]
