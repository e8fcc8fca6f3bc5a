"""How long a run will take: from measured runs of its kind, or from the calibration, scaled by what a step costs."""

from typing import Any

import pytest

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.runs.duration_estimate import estimate_duration, measured_paces, step_cost
from distill_core.runs.events import Measured
from distill_core.runs.store import Store
from tests.support.stored_runs import FAKE_TOKEN, active_run


def test_a_guess_grows_with_method_layers_and_length(store: Store) -> None:
    def seconds(words: float | None = None, **settings: Any) -> float:
        found = estimate_duration(store, RunConfig(**{"method": "kd", "steps": 2000, **settings}), "cpu", words)
        assert found.measured_runs == 0
        assert found.seconds is not None
        return found.seconds

    plain = seconds()
    for method, info in DISTILLATION_METHODS.items():
        assert (seconds(method=method) > 1.5 * plain) is (info.cost > 1.5)
    assert seconds(student_layers=6) > 1.5 * plain
    assert seconds(40.0) > 2 * plain
    assert estimate_duration(store, RunConfig(student_init="roberta"), "cpu").seconds is None


def test_a_guess_counts_how_often_a_method_s_part_is_computed() -> None:
    def cost(**settings: Any) -> float:
        return step_cost(RunConfig(**settings))

    extra = DISTILLATION_METHODS["ad_kd"].cost - 1
    assert cost(method="ad_kd") == pytest.approx(1 + extra)
    assert cost(method="ad_kd", attribution_steps=8) == pytest.approx(1 + 8 * extra)
    assert cost(method="ad_kd", attribution_steps=8, method_every=4) == pytest.approx(1 + 2 * extra)
    assert cost(method="kd", attribution_steps=8, method_every=4, erasures_each_step=3) == 1.0
    assert cost(method="gkd", attribution_steps=8) == DISTILLATION_METHODS["gkd"].cost
    erasing = DISTILLATION_METHODS["egkd_perturbation"].cost - 1
    assert cost(method="egkd_perturbation", erasures=2, erasures_each_step=9) == pytest.approx(1 + 2 * erasing)


def paced(store: Store, speed: float, **settings: Any) -> None:
    run, recorder = active_run(store, Measured(0, {"validation/accuracy": 0.5}), steps=20, **settings)
    for step in range(1, 21):
        recorder.record(Measured(step, {"examples_per_second": speed}))
    recorder.flush()
    store.end(run.id, FAKE_TOKEN, "finished")


def test_runs_of_the_same_batch_size_give_the_pace_if_there_are_any(store: Store) -> None:
    def basis(batch_size: int) -> tuple[float | None, int, bool]:
        found = estimate_duration(store, RunConfig(batch_size=batch_size), "cpu")
        return found.examples_per_second, found.measured_runs, found.same_batch_size

    paced(store, 64.0, batch_size=32)
    paced(store, 8.0, batch_size=1)
    assert basis(1) == (pytest.approx(8.0), 1, True)
    assert basis(32) == (pytest.approx(64.0), 1, True)
    assert basis(4) == (pytest.approx(36.0), 2, False)


def test_only_runs_that_compute_as_much_are_of_one_kind(store: Store) -> None:
    paced(store, 32.0)

    def measured(**settings: Any) -> bool:
        return bool(measured_paces(store, RunConfig(**settings), "cpu"))

    assert measured(steps=500)
    assert not measured(attribution_steps=8)
    assert not measured(method_every=5)
