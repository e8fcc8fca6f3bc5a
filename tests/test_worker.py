"""The worker with sessions of a few lines: what it persists, how it ends, and that it always says why."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from distill_core import worker
from distill_core.cli.foreground import run_in_foreground
from distill_core.config.run_config import RunConfig
from distill_core.errors import ModelError, RunError, StoreError
from distill_core.paths import run_folder
from distill_core.runs import lifecycle, worker_process
from distill_core.runs.events import DataUsed, Event, Measured, Note, Phase
from distill_core.runs.log import LOG_NAME
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile, stop, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import TOKEN_VARIABLE, find_worker
from tests.support.scripted_session import ScriptedSession, done_run
from tests.support.small_worker import saved_step, training, worker_command
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.waiting import PROMISE, until

ROOT = Path(__file__).resolve().parent.parent

Scripts = Callable[[str], Sequence[str]]


@pytest.fixture
def command(tmp_path: Path) -> Scripts:
    """Return what gives the command of a worker process with a session of a kind."""
    return partial(worker_command, tmp_path)


# a worker process ------------------------------------------------------------------------------


def test_a_run_leaves_its_numbers_its_log_and_its_student(store: Store, command: Scripts) -> None:
    run_id = enqueue(store, RunConfig(steps=5, evaluate_every=2, device="auto"))
    reconcile(store, command("plain"))
    run = wait(store, run_id, 30)
    assert (run.state, run.reason, run.step, run.phase) == ("finished", "", 5, "saving")
    losses = [(point.step, point.value) for point in store.metrics(run_id, names=["loss"])]
    assert losses == [(step, 1 / step) for step in range(1, 6)]
    assert store.latest(run_id)["validation/accuracy"] == 0.75
    assert saved_step(run) == 5
    log = "\n".join(store.log_tail(run_id))
    assert f"5 steps on {run.device}" in log  # the concrete one, not auto
    assert "in step 5" in log
    assert until(lambda: "finished" in store.log_tail(run_id)[-1])  # written after the end in the store


def test_a_stop_ends_the_run_and_keeps_the_student_of_that_moment(store: Store, command: Scripts) -> None:
    run = training(store, command("plain"), evaluate_every=100_000)
    began = time.monotonic()
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE)
    assert time.monotonic() - began < PROMISE
    assert ended.state == "stopped"
    assert f"on request at step {ended.step};" in ended.reason
    assert saved_step(ended) == ended.step


def test_sigterm_is_a_stop(store: Store, command: Scripts) -> None:
    run = training(store, command("plain"))
    assert run.pid is not None
    os.kill(run.pid, signal.SIGTERM)
    assert until(lambda: not store.get(run.id).active)
    ended = store.get(run.id)
    assert ended.state == "stopped"
    assert saved_step(ended) == ended.step


def test_a_hanging_worker_keeps_its_heartbeat_and_is_ended_by_a_stop_with_no_page_open(
    store: Store, command: Scripts
) -> None:
    run = training(store, command("hanging"), step=2, evaluate_every=1)
    beat = store.get(run.id).heartbeat or 0.0
    assert until(lambda: (store.get(run.id).heartbeat or 0.0) > beat + 1)
    stop(store, run.id)
    assert until(lambda: not store.get(run.id).active)  # nobody pumps
    ended = store.get(run.id)
    assert ended.state == "stopped"
    assert "by force at step 2" in ended.reason
    assert saved_step(ended) == 2
    assert until(lambda: find_worker(ended) is None, 1.0)


def test_a_failure_is_told_in_words_and_the_next_run_starts(store: Store, command: Scripts) -> None:
    failing, following = (enqueue(store, RunConfig(steps=9, evaluate_every=2, device="cpu")) for _ in range(2))
    reconcile(store, command("not finite"))
    run = wait(store, failing, 30, command("not finite"))
    assert (run.state, run.reason) == ("failed", "Step 3: the term ad_kd is not finite (nan).")
    assert store.latest(failing)["loss"] == 0.5
    assert saved_step(run) == 2
    assert until(lambda: store.get(following).state != "queued")
    assert not wait(store, following, 30).active


def test_much_output_does_not_stall_a_run(store: Store, command: Scripts) -> None:
    run_id = enqueue(store, RunConfig(steps=100, device="cpu"))
    reconcile(store, command("talking"))
    assert wait(store, run_id, 60).state == "finished"
    assert (run_folder(run_id) / LOG_NAME).stat().st_size > 100_000_000
    assert store.log_tail(run_id)[-1].endswith("finished")


def test_a_worker_that_is_not_waited_for_does_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    monkeypatch.setenv(TOKEN_VARIABLE, "not the one")
    assert worker.main([run_id]) == 2
    assert store.get(run_id).state == "queued"
    store.claim(lambda _: ("cpu",), FAKE_TOKEN)
    assert worker.main([run_id]) == 2
    assert store.get(run_id).state == "running"
    assert worker.main([]) == 2


# in the foreground, the same path --------------------------------------------------------------


def test_the_foreground_tells_every_event_and_writes_the_same_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    events = [Phase("training"), Measured(1, {"loss": 2.0}), Note("half way"), Measured(2, {"loss": 1.0})]
    session = ScriptedSession(events)
    run = done_run(store, monkeypatch, session, told.append)
    assert told[1:5] == events
    assert run.state == "finished"
    assert store.latest(run.id) == {"loss": 1.0}
    assert any(line.endswith("half way") for line in store.log_tail(run.id))
    assert session.saves == [2]
    assert session.closed


def test_what_was_trained_on_is_in_the_store_the_log_and_the_students_record(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [DataUsed("train", "Reviews", 16, "a1" * 32), DataUsed("validation", "Reviews", 4, "b2" * 32)]
    session = ScriptedSession([*used, Measured(1, {"loss": 1.0})])
    run = done_run(store, monkeypatch, session)
    assert store.data_of(run.id) == used
    assert session.record["data"] == [
        {"split": "train", "source": "Reviews", "examples": 16, "fingerprint": "a1" * 32},
        {"split": "validation", "source": "Reviews", "examples": 4, "fingerprint": "b2" * 32},
    ]
    assert any(line.endswith("training on 16 examples from Reviews (a1a1a1a1)") for line in store.log_tail(run.id))


def test_a_checkpoint_after_every_evaluation_and_none_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = {"validation/accuracy": 0.5}
    session = ScriptedSession([Measured(0, evaluated), Measured(1, {"loss": 1.0}), Measured(1, evaluated)])
    assert done_run(store, monkeypatch, session).state == "finished"
    assert session.saves == [0, 1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelError("Model x: x/model.safetensors is damaged."), "Model x: x/model.safetensors is damaged."),
        (MemoryError(), "Out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "Out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on the disk"),
        (KeyError("layer"), "KeyError: 'layer'"),
        (ValueError(), "ValueError"),
    ],
)
def test_whatever_goes_wrong_is_the_runs_reason_and_in_its_log(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    session = ScriptedSession([Measured(1, {"loss": 1.0}), error])
    run = done_run(store, monkeypatch, session)
    assert run.state == "failed"
    assert run.reason.startswith(reason)
    assert store.latest(run.id) == {"loss": 1.0}
    log = "\n".join(store.log_tail(run.id))
    assert type(error).__name__ in log or str(error) in log
    assert session.closed


def test_a_full_disk_while_saving_fails_the_run_and_keeps_the_older_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = {"validation/accuracy": 0.5}
    full = OSError(errno.ENOSPC, "No space left on device")
    session = ScriptedSession([Measured(1, evaluated), Measured(2, evaluated)], saving=[None, full])
    run = done_run(store, monkeypatch, session)
    assert (run.state, run.reason[:30]) == ("failed", "No space left on the disk that")
    assert saved_step(run) == 1
    assert [point.step for point in store.metrics(run.id)] == [1, 2]


def test_a_full_disk_while_points_are_written_fails_the_run_and_keeps_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = Store.write, [2]  # writes with points that there is room for

    def full(self: Store, run_id: str, token: str, points: Any, *more: Any) -> Run | None:
        room[0] -= bool(points)
        if points and room[0] < 0:
            raise StoreError("No space left on the disk that holds the run store; free some.")
        return write(self, run_id, token, points, *more)

    monkeypatch.setattr(Store, "write", full)
    looks = [Measured(step, {"validation/accuracy": 0.5}) for step in range(1, 6)]
    run = done_run(store, monkeypatch, ScriptedSession(looks))
    assert (run.state, run.reason[:30]) == ("failed", "No space left on the disk that")
    assert [point.step for point in store.metrics(run.id)] == [1, 2]
    assert saved_step(run) == 2
    assert any("the last points are not in the store" in line for line in store.log_tail(run.id))


def test_a_missing_library_or_teacher_fails_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> worker.RunSession:
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(worker, "_open_session", broken)
    run = run_in_foreground(store, enqueue(store, RunConfig(device="cpu")), lambda _: None)
    assert (run.state, run.reason) == ("failed", "ImportError: No module named 'torch'")


def test_a_stop_from_a_page_is_honoured_in_the_foreground(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[Event]:
        step = 0
        while True:
            step += 1
            time.sleep(0.02)
            yield Measured(step, {"loss": 1.0})

    def ask_at_step_5(event: Event) -> None:
        if isinstance(event, Measured) and event.step == 5:
            stop(store, store.runs()[0].id)

    session = ScriptedSession([])
    monkeypatch.setattr(session, "events", endless)
    run = done_run(store, monkeypatch, session, ask_at_step_5)
    assert run.state == "stopped"
    assert session.saves == [run.step]


def test_a_stop_before_there_is_a_student_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(event: Event) -> None:
        if event == Phase("loading", "teacher"):
            stop(store, store.runs()[0].id)
            time.sleep(2 * lifecycle.HEARTBEAT_SECONDS)

    session = ScriptedSession([Phase("loading", "teacher"), RunError("never reached")])
    run = done_run(store, monkeypatch, session, ask)
    assert run.state == "stopped"
    assert "no student yet" in run.reason
    assert (session.saves, run.model_path) == ([], None)


def test_ctrl_c_stops_a_foreground_run_and_keeps_its_student(store: Store, command: Scripts) -> None:
    run_id = enqueue(store, RunConfig(steps=100_000, device="cpu"))
    script = Path(command("plain")[1])
    code = f"""
import runpy
runpy.run_path({str(script)!r})
from distill_core.runs.log import LOG_NAME
from distill_core.runs.store import Store
from distill_core.cli.foreground import run_in_foreground
print(run_in_foreground(Store(), {run_id!r}, lambda event: None).state)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert until(lambda: store.get(run_id).step >= 3)
    run = store.get(run_id)
    assert find_worker(run) is not None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PROMISE)[0].strip() == "stopped"
    assert saved_step(store.get(run_id)) == store.get(run_id).step


def test_the_foreground_follows_a_run_that_another_process_does(
    store: Store, command: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "WORKER", tuple(command("plain")))
    first, second = (enqueue(store, RunConfig(steps=5, device="cpu")) for _ in range(2))
    reconcile(store)
    told: list[Event] = []
    run = run_in_foreground(store, second, told.append)
    assert run.state == "finished"
    assert store.get(first).state == "finished"
    measured = [event for event in told if isinstance(event, Measured) and "loss" in event.values]
    assert [event.step for event in measured][-1] == 5
