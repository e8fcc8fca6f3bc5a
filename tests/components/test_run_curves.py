"""A run's curves: thinned, smoothed, over steps, examples or time."""

import math

import pytest

from pages.components import run_curves
from pages.components.run_curves import View


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_its_peaks() -> None:
    points = [(step, math.sin(step / 9) if step % 7 else math.nan) for step in range(10_000)]
    points[4321], points[8765] = (4321, 50.0), (8765, -50.0)
    kept = run_curves.thinned(points)
    assert len(kept) <= run_curves.CURVE_POINTS
    assert (kept[0][0], kept[-1]) == (0, points[-1])
    assert {points[4321], points[8765]} <= set(kept)
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert run_curves.thinned(points[:30]) == points[:30]
    assert run_curves.thinned([(step, math.nan) for step in range(1000)])[0][0] == 0


def test_curves_stand_in_a_frame_as_wide_as_the_run() -> None:
    figure = run_curves.curves({"agreement/signed_cosine": [(0, -0.2), (20, 0.3)]}, 200, bounded=True, constant=0.5)
    low, high = figure.layout.xaxis.range
    assert low < 0 < 200 < high < 210
    assert figure.layout.yaxis.range[0] < -0.2
    assert figure.layout.shapes[0].y0 == 0.5


def test_smoothing_is_the_mean_with_falling_weights() -> None:
    values = [1.0, 3.0, math.nan, 2.0]
    found = [value for _, value in run_curves.smoothed(list(enumerate(values)), 0.5)]
    assert found[0] == 1.0
    assert found[1] == pytest.approx((0.5 * 1 + 1 * 3) / 1.5)
    assert math.isnan(found[2])
    assert found[3] == pytest.approx((0.25 * 1 + 0.5 * 3 + 1 * 2) / 1.75)
    assert run_curves.smoothed([(0, 5.0)], 0.0) == [(0, 5.0)]
    assert [value for _, value in run_curves.smoothed([(step, 0.7) for step in range(50)], 0.99)] == pytest.approx(
        [0.7] * 50
    )


def test_points_stand_over_steps_examples_or_minutes() -> None:
    points, seconds = [(0, 0.1), (2, 0.2), (3, 0.3)], [(1, 30.0), (2, 30.0), (3, 60.0)]
    assert run_curves.over(points, "step", 8, seconds) == points
    assert run_curves.over(points, "examples", 8, seconds) == [(0, 0.1), (16, 0.2), (24, 0.3)]
    assert run_curves.over(points, "time", 8, seconds) == [(0.0, 0.1), (1.0, 0.2), (2.0, 0.3)]
    assert run_curves.over(points, "time", 8, seconds[:2]) == [(0.0, 0.1), (1.0, 0.2)]  # not told yet


def test_a_view_changes_the_loss_and_not_the_metrics() -> None:
    points = {"loss": [(step, 1.0 + step % 2) for step in range(20)]}
    view = View(smoothing=0.9, log=True, axis="examples")
    loss = run_curves.curves(points, 20, bounded=False, view=view)
    assert (loss.layout.yaxis.type, loss.layout.xaxis.title.text) == ("log", "Examples")
    assert len(loss.data) == 2  # as measured behind it
    assert max(loss.data[0].y[-5:]) < 2.0 == max(loss.data[1].y[-5:])
    metric = run_curves.curves({"validation/accuracy": points["loss"]}, 20, bounded=True, view=view)
    assert metric.layout.yaxis.type is None
    assert len(metric.data) == 1
