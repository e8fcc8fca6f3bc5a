"""Runs that version 0.1 left queued, paused and finished are read, started and resumed by this version.

The fixture and how it was written: tests/fixtures/home_0_1/README.md.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from distill_core.explanation.cache import ExplanationCache
from distill_core.explanation.explain import explain
from distill_core.explanation.lazy_model import as_lazy_model
from distill_core.explanation.request import ExplanationRequest
from distill_core.models.bundle import open_model
from distill_core.models.encoder import load_model
from distill_core.paths import CODE
from distill_core.runs.run import Run
from distill_core.runs.scheduler import can_resume, reconcile, resume, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import TOKEN_VARIABLE, WORKER
from tests.support.write_home_0_1 import CACHED_TEXT, PAUSE_AT, PLACEHOLDER

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


def files_below(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_the_queued_run_trains_to_its_end_beside_the_cache_of_0_1(store: Store) -> None:
    cached = files_below(store.path.parent / "teacher")
    assert len(cached) >= 3
    reconcile(store)
    run = finished(store, named(store, "queued"))
    expected = json.loads((FIXTURE / "queued_losses.json").read_text(encoding="utf-8"))
    assert losses(store, run) == pytest.approx({int(step): loss for step, loss in expected.items()}, rel=1e-3)
    assert cached.items() <= files_below(store.path.parent / "teacher").items()


@pytest.mark.slow
def test_a_worker_is_started_by_the_name_it_had_in_0_1(store: Store) -> None:
    run_id = named(store, "queued").id
    claimed = store.claim(lambda _: ("cpu",), "token", only=run_id)
    assert claimed is not None
    command = [sys.executable, "-m", "distill_core.worker", run_id]
    environment = os.environ | {TOKEN_VARIABLE: "token"}
    done = subprocess.run(command, cwd=CODE, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert store.get(run_id).state == "finished", store.log_tail(run_id)


def test_an_explanation_is_the_same_with_the_cache_of_0_1(store: Store) -> None:
    assert (store.path.parent / "explanations.sqlite").stat().st_size > 10_000
    teacher, student = str(store.path.parents[1] / "teacher"), f"run/{named(store, 'whole').id}"
    models = {name: as_lazy_model(open_model(name, task="sst2")) for name in (teacher, student)}
    request = ExplanationRequest(task="sst2", text=CACHED_TEXT, teacher=teacher, students=(student,))
    cached, fresh = (explain(request, models.__getitem__, cache=cache) for cache in (ExplanationCache(), None))
    (expected,), (agreement,) = fresh.consistency, cached.consistency
    assert agreement.values == pytest.approx(expected.values, abs=1e-4, nan_ok=True)


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
