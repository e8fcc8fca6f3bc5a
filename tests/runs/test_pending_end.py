"""A run whose student was saved ends as its worker decided, whatever happens to the store or the worker after that."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import StoreError
from distill_core.paths import run_folder
from distill_core.runs import lifecycle
from distill_core.runs.events import Event, Measured
from distill_core.runs.lifecycle import StopKind
from distill_core.runs.pending_end import PENDING_END, write_pending_end
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile, stop, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker, mark_lost
from tests.support.scripted_session import ScriptedSession, done_run
from tests.support.small_worker import saved_step, training, worker_command
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.waiting import PROMISE, until

ENDINGS: dict[StopKind | None, tuple[str, str]] = {
    "stop": ("stopped", "Stopped on request at step 1; the student at that step was saved."),
    "pause": ("paused", "Paused on request at step 1; the student at that step was saved."),
    None: ("finished", ""),
}


class StoppedSession(ScriptedSession):
    """A session in whose first step a stop of a kind is requested; the store fails once the student is saved."""

    def __init__(self, store: Store, kind: StopKind | None, fail: Callable[[], None]) -> None:
        super().__init__([Measured(1, {"loss": 1.0})])
        self._store, self._kind, self._fail = store, kind, fail

    def events(self) -> Iterator[Event]:
        yield from super().events()
        if self._kind is not None:
            stop(self._store, self._store.runs()[0].id, self._kind)
            time.sleep(2 * lifecycle.HEARTBEAT_SECONDS)  # until the worker has seen it
            yield Measured(1, {"ce": 0.5})

    def save(self, path: Path, record: dict[str, Any]) -> None:
        super().save(path, record)
        self._fail()


def failing(*_: object, **__: object) -> None:
    raise StoreError("No space left on the disk that holds the run store; free some.")


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_store_that_fails_after_the_student_was_saved_changes_no_ending(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: StopKind | None
) -> None:
    def fail() -> None:
        for name in ("write", "set_model", "get"):
            monkeypatch.setattr(Store, name, failing)

    end = Store.end

    def end_works(*given: Any) -> bool:
        monkeypatch.setattr(Store, "get", get)
        return end(*given)

    get = Store.get
    monkeypatch.setattr(Store, "end", end_works)
    run = done_run(store, monkeypatch, StoppedSession(store, kind, fail))
    assert (run.state, run.reason) == ENDINGS[kind]
    assert not (run_folder(run.id) / PENDING_END).exists()


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_worker_that_cannot_write_its_end_leaves_it_to_whoever_finds_it_gone(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: StopKind | None
) -> None:
    with monkeypatch.context() as patched:
        session = StoppedSession(store, kind, lambda: patched.setattr(Store, "end", failing))
        with pytest.raises(StoreError):
            done_run(store, patched, session)
    run = store.runs()[0]
    assert run.state == "running"
    mark_lost(store, run, exit_code=1)
    ended = store.get(run.id)
    assert (ended.state, ended.reason) == ENDINGS[kind]
    assert not (run_folder(run.id) / PENDING_END).exists()


def test_the_pending_end_of_an_earlier_attempt_or_a_damaged_one_does_not_count(store: Store) -> None:
    def lost(token: str | None) -> Run:
        run_id = enqueue(store, RunConfig(device="cpu"))
        store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
        run_folder(run_id).mkdir(parents=True)
        if token is None:
            (run_folder(run_id) / PENDING_END).write_text(json.dumps({"token": FAKE_TOKEN, "state": "queued"}))
        else:
            write_pending_end(run_id, token, lifecycle.Ending("finished"))
        mark_lost(store, store.get(run_id))
        return store.get(run_id)

    assert lost("another").state == "lost"
    assert lost(None).state == "lost"
    assert lost(FAKE_TOKEN).state == "finished"


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str], Sequence[str]]:
    return partial(worker_command, tmp_path)


def test_a_worker_that_hangs_after_it_saved_its_student_has_stopped_on_request(
    store: Store, command: Callable[[str], Sequence[str]]
) -> None:
    run = training(store, command("hanging at its end"), evaluate_every=100_000)
    stop(store, run.id, "pause")
    assert until(lambda: not store.get(run.id).active, PROMISE)  # no other process looks
    ended = store.get(run.id)
    assert (ended.state, saved_step(ended)) == ("paused", ended.step)
    assert ended.reason == f"Paused on request at step {ended.step}; the student at that step was saved."
    assert until(lambda: find_worker(ended) is None, 1.0)


@pytest.mark.parametrize("variant", ["busy at its end", "busy once it saved"])
def test_a_worker_killed_while_it_waits_for_a_busy_store_has_stopped_on_request(
    store: Store, command: Callable[[str], Sequence[str]], variant: str
) -> None:
    run = training(store, command(variant), evaluate_every=100_000)
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE + 5)
    assert (ended.state, saved_step(ended)) == ("stopped", ended.step)
    assert ended.reason == f"Stopped on request at step {ended.step}; the student at that step was saved."
    assert reconcile(store) == []
