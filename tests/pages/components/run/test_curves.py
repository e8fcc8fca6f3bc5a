"""A run's curves: which there are, what is marked on them, and which points are sent for them."""

import math
from dataclasses import replace

import pytest

from distill_core.runs.lifecycle import RunState
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from pages.components.palette import metric_color
from pages.components.run import curves
from tests.support.stored_runs import active_run


@pytest.fixture
def run(store: Store) -> Run:
    return active_run(store, steps=200, batch_size=8)[0]


def test_the_charts_are_made_of_the_terms_the_metric_and_the_agreement(run: Run) -> None:
    series = {
        name: [(1, 0.5)] for name in ("loss", "ce", "weighted/ce", "step_seconds", "memory_mb", "teacher/accuracy")
    }
    series |= {"validation/accuracy": [(0, 0.5)], "agreement/cosine": [(0, 0.9)]}
    assert set(curves.chart_points(run, series)) == set(series) - {"memory_mb", "teacher/accuracy"}


def test_a_term_has_its_colour_raw_and_weighted(run: Run) -> None:
    raw, weighted = (curves._curve_lines(run, [name])[0] for name in ("kd", "weighted/kd"))
    assert raw.color == weighted.color == metric_color("kd")
    assert raw.title == weighted.title
    assert raw.batch == 8
    assert not weighted.heavy
    assert curves._curve_lines(run, ["loss"])[0].heavy


def test_the_axis_of_a_run_that_is_over_ends_where_it_did(run: Run) -> None:
    run = replace(run, step=15, config=replace(run.config, steps=200))
    states: tuple[RunState, ...] = ("queued", "running", "paused")
    for state in states:
        assert curves.axis_steps(replace(run, state=state)) == 200
    assert curves.axis_steps(replace(run, state="stopped")) == 15
    assert curves.axis_steps(replace(run, state="failed", step=0)) == 200


def test_a_run_marks_its_best_checkpoint_its_teacher_and_the_metric_of_one_answer(run: Run) -> None:
    series = {"validation/accuracy": [(0, 0.5), (20, 0.7)], "constant/accuracy": [(0, 0.51)]}
    notes = curves.chart_notes(run, series)
    assert [mark.step for mark in notes[curves.LOSS_CHART].marks] == [20]
    (level,) = notes[curves.AGREEMENT_CHART].levels
    assert (level.value, level.panel) == (0.51, 0)
    assert not notes[curves.LOSS_CHART].levels
    both = curves.chart_notes(run, series | {"teacher/accuracy": [(0, 0.9)]})[curves.AGREEMENT_CHART].levels
    assert [level.value for level in both] == [0.51, 0.9]
    assert [level.caption for level in both] == ["majority-class baseline 0.51", "teacher 0.90"]
    unknown = {"constant/accuracy": [(0, math.nan)], "teacher/accuracy": [(0, math.nan)]}
    assert not curves.chart_notes(run, unknown)[curves.AGREEMENT_CHART].levels
    assert not curves.chart_notes(run, {})[curves.AGREEMENT_CHART].marks
