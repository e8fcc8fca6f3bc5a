"""A run whose student was saved ends as its worker decided, whatever happens to the store or the worker after that."""

import io
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill_core import worker
from distill_core.config.run_config import RunConfig
from distill_core.errors import RunError, StoreError
from distill_core.paths import run_folder
from distill_core.runs import lifecycle
from distill_core.runs.database import FullError
from distill_core.runs.events import Event, Measured
from distill_core.runs.lifecycle import StopKind
from distill_core.runs.pending_end import remove_pending_end, write_pending_end
from distill_core.runs.scheduler import enqueue, reconcile, stop, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker, mark_lost
from distill_core.storage.checkpoints import LAST
from tests.support.damaged_json import DAMAGED_JSON
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


def pending_ends(run_id: str) -> list[Path]:
    return list(run_folder(run_id).glob("ending*"))


def failing(*_: object) -> bool:
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
    assert not pending_ends(run.id)


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
    assert not pending_ends(run.id)


def fill_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store refuse every write until the space that it holds back is free."""
    reserve, writing = store.path.with_name("runs.sqlite.reserve"), Store.writing

    @contextmanager
    def full(self: Store) -> Iterator[sqlite3.Connection]:
        if reserve.exists():
            raise FullError("No space left on the disk.")
        with writing(self) as connection:
            yield connection

    monkeypatch.setattr(Store, "writing", full)


@pytest.mark.parametrize("ending", [lifecycle.Ending("finished"), None])
def test_a_dead_run_ends_on_a_full_disk_with_the_student_it_saved(
    store: Store, monkeypatch: pytest.MonkeyPatch, ending: lifecycle.Ending | None
) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
    store.attach(run_id, FAKE_TOKEN, 2**22 + 1, 0.0)  # above the greatest pid
    student = run_folder(run_id) / LAST
    student.mkdir(parents=True)
    if ending is not None:
        write_pending_end(run_id, FAKE_TOKEN, ending)
    fill_disk(store, monkeypatch)
    assert reconcile(store) == []
    ended = store.get(run_id)
    assert (ended.state, ended.model_path) == (ending.state if ending else "lost", student)


@pytest.mark.parametrize("failing_from", [1, 2])
def test_a_student_the_store_was_not_told_of_is_told_with_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, failing_from: int
) -> None:
    set_model, calls = Store.set_model, list[int]()

    def fails_later(*given: Any) -> bool:
        calls.append(1)
        return failing() if len(calls) >= failing_from else set_model(*given)

    monkeypatch.setattr(Store, "set_model", fails_later)
    events = [Measured(1, {"validation/accuracy": 0.5}), Measured(2, {"loss": 1.0}), Measured(3, {"loss": 0.5})]
    planned: list[Event | BaseException] = list(events[1:]) if failing_from == 1 else [*events, RunError("its cause")]
    run = done_run(store, monkeypatch, ScriptedSession(planned))
    assert (run.state, run.reason) == (("finished", "") if failing_from == 1 else ("failed", "its cause"))
    assert run.model_path == run_folder(run.id) / LAST
    assert [point.step for point in store.metrics(run.id, names=["loss"])] == [2, 3]


def test_a_stop_requested_after_a_pause_was_decided_is_how_the_run_ends(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Store.end

    def stopped_before_its_end(self: Store, run_id: str, *given: Any) -> bool:
        assert self.request_stop(run_id, "stop")
        return end(self, run_id, *given)

    monkeypatch.setattr(Store, "end", stopped_before_its_end)
    run = done_run(store, monkeypatch, StoppedSession(store, "pause", lambda: None))
    assert (run.state, run.reason) == ENDINGS["stop"]
    assert store.log_tail(run.id)[-1].split(" ", 1)[1] == run.reason  # after the time of day


@pytest.mark.parametrize(("pending", "kinds"), [("paused", ["pause", "stop"]), (None, ["stop"]), (None, ["pause"])])
def test_a_request_that_came_while_a_worker_was_found_gone_is_how_its_run_ends(
    store: Store, pending: str | None, kinds: list[StopKind]
) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
    if pending is not None:
        run_folder(run_id).mkdir(parents=True)
        write_pending_end(run_id, FAKE_TOKEN, lifecycle.ending_on_request("pause", 3, False))
    as_found = store.get(run_id)
    assert all(store.request_stop(run_id, kind) for kind in kinds)
    mark_lost(store, as_found)
    ended = store.get(run_id)
    assert ended.state == lifecycle.stopped_state(kinds[-1])
    how = "on request at step 3" if pending else "by force at step 0"
    assert ended.reason.startswith(f"{ended.state.capitalize()} {how}")


def test_a_full_disk_hides_no_requested_stop_from_a_worker(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    run = store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
    assert run is not None
    store.request_stop(run_id, "pause")
    fill_disk(store, monkeypatch)
    execution = worker._Execution(store, run, io.StringIO(), None)
    heartbeat = worker._Heartbeat(execution, may_exit=False)
    heartbeat.start()
    assert execution.stop_asked.wait(5)
    heartbeat.close()
    assert execution.stop_kind == "pause"


def test_a_full_disk_puts_off_the_cleaning_of_a_finished_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
    store.end(run_id, FAKE_TOKEN, "finished")
    with monkeypatch.context() as patched:
        fill_disk(store, patched)
        assert reconcile(store) == []
    assert store.runs_to_clean() == [run_id]
    assert reconcile(store) == []
    assert store.runs_to_clean() == []


def test_an_end_whose_reason_is_no_valid_text_is_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = done_run(store, monkeypatch, ScriptedSession([RunError("The file \udcff is damaged.")]))
    assert (run.state, run.reason) == ("failed", "The file \\udcff is damaged.")


def running(store: Store, token: str = FAKE_TOKEN) -> str:
    """Add a run that the store records as running, with its folder."""
    run_id = enqueue(store, RunConfig(device="cpu"))
    assert store.claim(lambda _: ("cpu",), token, only=run_id) is not None
    run_folder(run_id).mkdir(parents=True)
    return run_id


def test_only_the_pending_end_of_the_same_attempt_counts(store: Store) -> None:
    earlier = running(store)
    write_pending_end(earlier, "another", lifecycle.Ending("finished"))
    mark_lost(store, store.get(earlier))
    assert store.get(earlier).state == "lost"
    present = running(store)
    write_pending_end(present, FAKE_TOKEN, lifecycle.Ending("finished"))
    mark_lost(store, store.get(present))
    assert store.get(present).state == "finished"


def test_an_earlier_worker_that_ends_late_changes_no_end_of_the_next(store: Store) -> None:
    run_id = running(store)
    write_pending_end(run_id, FAKE_TOKEN, lifecycle.Ending("finished"))
    write_pending_end(run_id, "earlier", lifecycle.Ending("stopped", "Stopped on request at step 1."))
    remove_pending_end(run_id, "earlier")
    mark_lost(store, store.get(run_id))
    assert store.get(run_id).state == "finished"
    assert not pending_ends(run_id)


WRONG_VALUES = {
    "no reason": {"token": FAKE_TOKEN, "state": "finished"},
    "no state": {"token": FAKE_TOKEN, "reason": ""},
    "unknown state": {"token": FAKE_TOKEN, "state": "done", "reason": ""},
    "state without an edge": {"token": FAKE_TOKEN, "state": "queued", "reason": ""},
    "state of another type": {"token": FAKE_TOKEN, "state": {"a": []}, "reason": ""},
    "reason of another type": {"token": FAKE_TOKEN, "state": "finished", "reason": ["a"]},
    "token of another type": {"token": [FAKE_TOKEN], "state": "finished", "reason": ""},
    "lone surrogate in the reason": {"token": FAKE_TOKEN, "state": "finished", "reason": "\ud800"},
}
DAMAGED_ENDS = DAMAGED_JSON | {name: json.dumps(values).encode() for name, values in WRONG_VALUES.items()}


@pytest.mark.parametrize("content", DAMAGED_ENDS.values(), ids=DAMAGED_ENDS)
def test_a_damaged_pending_end_counts_as_none_and_is_logged(
    store: Store, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    run_id = running(store)
    store.attach(run_id, FAKE_TOKEN, 2**22 + 1, 0.0)
    write_pending_end(run_id, FAKE_TOKEN, lifecycle.Ending("finished"))
    (file,) = pending_ends(run_id)
    file.write_bytes(content)
    assert reconcile(store) == []
    assert store.get(run_id).state == "lost"
    assert f"{file} is damaged" in caplog.text
    assert not file.exists()


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
