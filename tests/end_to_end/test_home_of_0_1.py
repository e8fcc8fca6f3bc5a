"""Runs that version 0.1 left queued, paused and finished are read, started and resumed by this version.

The fixture and how it was written: tests/fixtures/home_0_1/README.md.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from distill_core.models.encoder import load_model
from distill_core.runs.run import Run
from distill_core.runs.scheduler import can_resume, reconcile, resume, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import WORKER
from tests.support.write_home_0_1 import PAUSE_AT, PLACEHOLDER

FIXTURE = Path(__file__).parents[1] / "fixtures" / "home_0_1"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store of a copy of the fixture, its placeholder replaced by the place of the copy."""
    place = tmp_path / "home_0_1"
    shutil.copytree(FIXTURE, place)
    for file in place.rglob("*"):
        if file.suffix in (".json", ".txt"):
            file.write_text(file.read_text(encoding="utf-8").replace(PLACEHOLDER, str(place)), encoding="utf-8")
    with closing(sqlite3.connect(place / "home" / "runs.sqlite", isolation_level=None)) as connection:
        for table, column in (("runs", "config"), ("runs", "model_path"), ("data_used", "source")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (PLACEHOLDER, str(place)))
    monkeypatch.setenv("DISTILL_HOME", str(place / "home"))
    return Store()


def named(store: Store, name: str) -> Run:
    (run,) = (run for run in store.runs() if run.name == name)
    return run


def finished(store: Store, run: Run) -> Run:
    """Let worker processes work until a run has ended, and check that it finished and left a student."""
    assert WORKER[-2:] == ("-m", "distill_core.worker")
    ended = wait(store, run.id, 120)
    assert (ended.state, ended.reason, ended.step) == ("finished", "", run.config.steps), store.log_tail(run.id)
    assert ended.model_path is not None
    load_model(ended.model_path)
    return ended


def losses(store: Store, run: Run) -> dict[int, float]:
    return {point.step: point.value for point in store.metrics(run.id, names=["loss"])}


def test_all_runs_are_listed_with_the_settings_they_were_given(store: Store) -> None:
    states = [(run.name, run.state, run.step) for run in store.runs()]
    assert states == [("queued", "queued", 0), ("paused", "paused", PAUSE_AT), ("whole", "finished", 40)]
    assert [(run.config.method, run.config.student_layers) for run in store.runs()] == [
        ("gkd_cls", 2),
        ("ad_kd", 1),
        ("ad_kd", 1),
    ]
    queued, paused, _ = (run.config.to_json() for run in store.runs())
    assert '"even"' in queued
    assert ": 50.0" in queued  # patience_weight
    assert ": 9" in queued  # patience
    assert ": 40" in paused
    assert can_resume(named(store, "paused"))


@pytest.mark.slow
def test_the_queued_run_trains_to_its_end(store: Store) -> None:
    reconcile(store)
    run = finished(store, named(store, "queued"))
    assert list(losses(store, run)) == list(range(1, 7))


@pytest.mark.slow
def test_the_paused_run_resumes_from_its_step_and_ends_as_the_uninterrupted_one_did(store: Store) -> None:
    store.cancel(named(store, "queued").id)
    before = named(store, "paused")
    measured = store.metrics(before.id, names=["loss"])
    assert [point.step for point in measured] == list(range(1, PAUSE_AT + 1))
    resume(store, before.id)
    reconcile(store)
    run = finished(store, before)
    assert losses(store, run).keys() == set(range(1, 41))
    whole = named(store, "whole")
    # 0.1 computed those of `whole`, maybe on another processor: equal but for rounding
    assert losses(store, run) == pytest.approx(losses(store, whole), rel=1e-3)
    assert store.metrics(run.id, names=["loss"])[:PAUSE_AT] == measured  # by their cursors never measured again
