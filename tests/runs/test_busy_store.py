"""A store that others keep busy for long ends no run, whenever that is."""

import os
import signal
import sqlite3
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import RunError
from distill_core.runs.database import BusyError
from distill_core.runs.events import Event, Measured
from distill_core.runs.recorder import retry_while_busy
from distill_core.runs.scheduler import enqueue, reconcile
from distill_core.runs.store import Store
from tests.support.scripted_session import ScriptedSession, done_run
from tests.support.small_worker import worker_command
from tests.support.waiting import until


def test_a_store_that_stays_busy_ends_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    waits: list[threading.Timer] = []

    def held(event: Event) -> None:  # at the evaluation, and at the end
        if isinstance(event, Measured) and event.step >= 2:
            other.execute("BEGIN IMMEDIATE")
            waits.append(threading.Timer(0.5, other.execute, ("ROLLBACK",)))
            waits[-1].start()

    session = ScriptedSession(
        [Measured(1, {"loss": 1.0}), Measured(2, {"validation/accuracy": 0.5}), Measured(3, {"loss": 0})]
    )
    run = done_run(store, monkeypatch, session, held)
    assert len(waits) == 2
    assert (run.state, session.saves) == ("finished", [2, 3])
    assert [point.step for point in store.metrics(run.id, names=["loss", "validation/accuracy"])] == [1, 2, 3]
    failing = ScriptedSession([Measured(1, {"loss": 1.0}), Measured(2, {"loss": 0.5}), RunError("as its session says")])
    failed = done_run(store, monkeypatch, failing, held)
    assert (failed.state, failed.reason) == ("failed", "as its session says")
    assert [point.step for point in store.metrics(failed.id)] == [1, 2]
    monkeypatch.setattr("distill_core.runs.recorder.PATIENCE_SECONDS", 0.1)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as forever:
        forever.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError):
            retry_while_busy(partial(store.annotate, run.id, note="x"))
    other.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_while_the_end_is_written_changes_no_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, signals: int
) -> None:
    end = Store.end

    def interrupted(*given: Any) -> bool:
        for _ in range(signals if not asked else 0):
            asked.append(1)
            os.kill(os.getpid(), signal.SIGINT)
        return end(*given)

    asked: list[int] = []
    monkeypatch.setattr(Store, "end", interrupted)
    run = done_run(store, monkeypatch, ScriptedSession([Measured(1, {"loss": 1.0})]))
    assert (run.state, run.reason, len(asked)) == ("finished", "", signals)


def test_a_busy_store_keeps_no_run_from_beginning(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.05)
    other, attach = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False), Store.attach
    timers: list[threading.Timer] = []

    def held(*given: Any) -> bool:
        if not timers:
            other.execute("BEGIN IMMEDIATE")
            timers.append(threading.Timer(0.5, other.execute, ("ROLLBACK",)))
            timers[0].start()
        return attach(*given)

    monkeypatch.setattr(Store, "attach", held)
    assert done_run(store, monkeypatch, ScriptedSession([Measured(1, {"loss": 1.0})])).state == "finished"
    timers.clear()
    run_id = enqueue(store, RunConfig(device="cpu", steps=2, evaluate_every=2))
    assert reconcile(store, worker_command(tmp_path, "plain")) == [run_id]  # its worker notes itself
    assert until(lambda: not store.get(run_id).active)
    assert store.get(run_id).state == "finished"
    other.close()
