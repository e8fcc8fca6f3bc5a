"""The remaining time: evaluations count, the range holds on simulated runs, and nothing unmeasured is estimated."""

import math
import random
from collections.abc import Callable

import pytest

from distill_core.training.eta import EtaEstimator, Forecast

EVERY, STEPS = 20, 400  # of a simulated run
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)  # of its steps, after which it is asked how long it will still take


def seen(steps: list[float], evaluations: list[float]) -> EtaEstimator:
    remaining = EtaEstimator(evaluations)
    for seconds in steps:
        remaining.step(seconds)
    return remaining


def test_the_forecast_counts_remaining_steps_and_evaluations() -> None:
    found = seen([2.0] * 50, [10.0] * 5).forecast(100, 4)
    assert found is not None
    assert found.likely == pytest.approx(240)
    assert 180 < found.low < 230
    assert 250 < found.high < 300


def test_the_forecast_is_zero_at_the_end() -> None:
    assert seen([2.0] * 50, []).forecast(0, 0) == Forecast(0.0, 0.0, 0.0)


def test_there_is_no_forecast_before_the_first_measurement() -> None:
    assert seen([], [1.0]).forecast(10, 0) is None
    assert seen([1.0], []).forecast(10, 1) is None
    assert seen([1.0], []).forecast(10, 0) is not None


def test_the_range_is_wider_after_one_step_than_after_many() -> None:
    one, many = seen([1.0], []).forecast(100, 0), seen([1.0] * 200, []).forecast(100, 0)
    assert one is not None
    assert many is not None
    assert one.likely == many.likely == pytest.approx(100)
    assert one.high - one.low > 1.3 * (many.high - many.low)


def test_slow_first_steps_are_dropped() -> None:
    found = seen([3.0] * 50 + [1.0] * 50, []).forecast(100, 0)
    assert found is not None
    assert found.likely == pytest.approx(100)


def test_a_time_limit_bounds_all_three_values() -> None:
    assert Forecast(300, 200, 400).within(250) == Forecast(250, 200, 250)


# coverage: the real rest of a run lies in between, in eight of ten runs or more -------------------


def independent(draw: random.Random) -> list[float]:
    return [0.1 * draw.lognormvariate(0, 0.3) for _ in range(STEPS)]


def now_and_then_slow(draw: random.Random) -> list[float]:
    return [2.0 if draw.random() < 0.01 else 0.1 for _ in range(STEPS)]


def on_a_busy_machine(draw: random.Random) -> list[float]:
    load, times = draw.gauss(0, 1), []
    for _ in range(STEPS):
        load = 0.98 * load + math.sqrt(1 - 0.98**2) * draw.gauss(0, 1)
        times.append(0.1 * math.exp(0.2 * load))
    return times


def covered(kind: Callable[[random.Random], list[float]], counted: bool = True) -> float:
    """Return the share of forecasts that hold the real rest; `counted`: whether evaluations to come are told of."""
    hits = []
    for seed in range(30):
        draw = random.Random(seed)
        steps = kind(draw)
        looks = [1.5 * draw.lognormvariate(0, 0.15) for _ in range(1 + STEPS // EVERY)]
        for share in SHARES:
            at = int(share * STEPS)
            done = 1 + at // EVERY
            found = seen(steps[:at], looks[:done]).forecast(STEPS - at, len(looks) - done if counted else 0)
            assert found is not None
            hits.append(found.low <= sum(steps[at:]) + sum(looks[done:]) <= found.high)
    return sum(hits) / len(hits)


@pytest.mark.parametrize("kind", [independent, now_and_then_slow, on_a_busy_machine])
def test_the_range_contains_the_true_time_in_most_simulated_runs(kind: Callable[[random.Random], list[float]]) -> None:
    assert covered(kind) >= 0.8


def test_the_range_would_miss_the_true_time_without_evaluations() -> None:
    assert covered(independent, counted=False) < 0.2
