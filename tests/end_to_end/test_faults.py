"""Servers and workers that are really killed, several devices, many processes: nothing lost, nothing shown wrongly.

Every process is a real one; the workers' sessions are a few lines.
"""

import os
import re
import signal
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.config.run_config import RunConfig
from distill_core.runs import scheduler
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile, resume, stop, wait
from distill_core.runs.store import Store
from tests.support.processes import SERVER, start_python
from tests.support.small_worker import saved_step, training, worker_command
from tests.support.waiting import PROMISE, until

Scripts = Callable[[str], Sequence[str]]


@pytest.fixture
def command(tmp_path: Path) -> Scripts:
    """Return what gives the command of a worker process with a session of a kind."""
    return partial(worker_command, tmp_path)


def steps_of(store: Store, run_id: str) -> list[int]:
    return [point.step for point in store.metrics(run_id, names=["loss"])]


# the server is killed --------------------------------------------------------------------------

# A new one: within 5 seconds it sees the run alive and two numbers come in.
NEXT = """
import sys, time
from distill_core.runs.scheduler import reconcile
from distill_core.runs.worker_process import find_worker
from distill_core.runs.store import Store
began = time.monotonic()
store, seen = Store(), set()
while len(seen) < 3:
    assert time.monotonic() - began < 5, seen
    reconcile(store)
    (run,) = store.runs()
    assert (run.state, run.reason, find_worker(run) is not None) == ("running", "", True), run
    seen.add(store.metrics(run.id)[-1].cursor)
    time.sleep(0.05)
"""


def test_a_killed_server_loses_no_point_and_the_next_shows_the_live_run(store: Store, command: Scripts) -> None:
    server = start_python(SERVER.format(command=tuple(command("plain"))))
    errors = server.communicate(timeout=60)[1]
    assert server.returncode == -signal.SIGKILL, errors
    (run,) = store.runs()
    before = store.metrics(run.id)
    following = start_python(NEXT)
    errors = following.communicate(timeout=60)[1]
    assert following.returncode == 0, errors
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE)
    assert (ended.state, saved_step(ended)) == ("stopped", ended.step)
    assert steps_of(store, run.id) == list(range(1, ended.step + 1))
    assert store.metrics(run.id)[: len(before)] == before


# the worker is killed --------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [True, False], ids=["the server is there", "the server was killed first"])
def test_a_killed_worker_is_lost_with_cause_step_and_its_last_lines(
    store: Store, command: Scripts, watched: bool
) -> None:
    if watched:
        run = training(store, command("plain"), step=8, evaluate_every=5)
    else:
        server = start_python(SERVER.format(command=tuple(command("plain"))))
        server.communicate(timeout=60)
        (run,) = store.runs()
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)  # as the system does for lack of memory
    assert until(lambda: (watched or reconcile(store) == []) and not store.get(run.id).active, PROMISE)
    lost = store.get(run.id)
    assert lost.state == "lost"
    assert ("was killed (SIGKILL)" if watched else f"process {run.pid} is gone: killed, out of memory") in lost.reason
    assert f"at step {lost.step} (training); see the end of its log" in lost.reason
    said = CliRunner().invoke(app, ["runs", "show", run.id], catch_exceptions=False).stderr
    assert f"{run.id}: lost after {lost.step} steps. The worker process " in " ".join(said.split())
    assert re.search(r"log: [\d:]{8} (in step \d+|step \d+: \S+ \S+)$", said.rstrip())
    assert store.runs(("running", "queued")) == []
    assert steps_of(store, run.id) == list(range(1, lost.step + 1))
    assert saved_step(lost) in (lost.step // 5 * 5, lost.step // 5 * 5 - 5)  # it may have been about to be written


def test_killed_again_and_again_a_run_goes_on_to_its_end(store: Store, command: Scripts) -> None:
    run = training(store, command("plain"), step=12, steps=60, evaluate_every=10)
    for step in (25, 45):
        assert run.pid is not None
        os.kill(run.pid, signal.SIGKILL)
        assert wait(store, run.id, PROMISE).state == "lost"
        resume(store, run.id)
        reconcile(store, command("plain"))
        assert until(lambda: store.get(run.id).step >= step)  # noqa: B023 (called at once)
        run = store.get(run.id)
    assert wait(store, run.id, PROMISE).state == "finished"
    assert steps_of(store, run.id) == list(range(1, 61))


# the queue -------------------------------------------------------------------------------------


def test_a_queue_survives_its_server_with_its_order_and_a_run_that_fails(store: Store, command: Scripts) -> None:
    code = """
import os, signal
from distill_core.config.run_config import RunConfig
from distill_core.runs.scheduler import stop, enqueue
from distill_core.runs.store import Store
store = Store()
ids = [enqueue(store, RunConfig(steps=6, device="cpu", name=name)) for name in ("first", "bad", "cancelled", "last")]
assert store.reorder(ids[1], earlier=True)
stop(store, ids[2])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert start_python(code).wait(timeout=60) == -signal.SIGKILL
    assert until(
        lambda: not reconcile(store, command("bad if called so")) and not store.runs(("queued", "running")), 60
    )
    runs = {run.title: run for run in store.runs()}
    assert {name: run.state for name, run in runs.items()} == {
        "first": "finished", "bad": "failed", "cancelled": "stopped", "last": "finished"
    }, [run.reason for run in runs.values()]  # fmt: skip
    assert runs["bad"].reason == "Step 3: as its name says."
    worked = sorted((run for run in runs.values() if run.started), key=lambda run: run.started or 0)
    assert [run.title for run in worked] == ["bad", "first", "last"]


def test_devices_work_side_by_side_and_each_on_one_run(
    store: Store, command: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "devices_for", lambda name: (name,))
    names = ("first", "bad", "last")
    for name in names:
        for device in ("cpu", "cuda", "mps"):
            enqueue(store, RunConfig(steps=40, evaluate_every=20, device=device, name=name))
    assert len(reconcile(store, command("bad if called so"))) == 3
    assert until(lambda: {run.step >= 3 for run in store.runs(("running",))} == {True}, 30)
    assert len({run.pid for run in store.runs(("running",))}) == 3  # all at work, each in its own process
    assert until(lambda: not store.runs(("queued", "running")), 90)  # nobody pumps: each worker's end did
    runs = store.runs()
    assert {(run.title, run.state) for run in runs} == {("first", "finished"), ("bad", "failed"), ("last", "finished")}
    for device in ("cpu", "cuda", "mps"):
        own = sorted((run for run in runs if run.device == device), key=lambda run: run.started or 0)
        assert [run.title for run in own] == list(names)
        assert all((one.ended or 0) <= (after.started or 0) for one, after in pairwise(own))
    latest_start = max(first_of(runs, device).started or 0 for device in ("cpu", "cuda", "mps"))
    assert latest_start < min(first_of(runs, device).ended or 0 for device in ("cpu", "cuda", "mps"))


def first_of(runs: Sequence[Run], device: str) -> Run:
    return next(run for run in runs if run.device == device and run.title == "first")


# many processes on one store -------------------------------------------------------------------

PUMPING = """
import time
from distill_core.runs.scheduler import reconcile
from distill_core.runs.store import Store
store, deadline = Store(), time.monotonic() + 60
while store.runs(("queued", "running")) and time.monotonic() < deadline:
    reconcile(store, {command!r})
    time.sleep(0.01)
"""
READING = """
import time
from distill_core.runs.store import Store
store, cursor, seen = Store(), 0, []
deadline = time.monotonic() + 60
while len(seen) < 100 and time.monotonic() < deadline:
    points = store.metrics({run_id!r}, after=cursor, names=["loss"])
    cursor = points[-1].cursor if points else cursor
    seen += [point.step for point in points]
    store.runs(), store.get({run_id!r}), store.latest({run_id!r})
assert seen == list(range(1, 101)), seen
"""


def test_two_servers_eight_readers_and_a_worker_share_a_store(store: Store, command: Scripts) -> None:
    first, second = (enqueue(store, RunConfig(steps=100, evaluate_every=10, device="cpu")) for _ in range(2))
    processes = [start_python(READING.format(run_id=first)) for _ in range(8)]
    processes += [start_python(PUMPING.format(command=tuple(command("plain")))) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, "\n".join(errors)
    for run_id in (first, second):
        assert store.get(run_id).state == "finished", store.log_tail(run_id)
        assert steps_of(store, run_id) == list(range(1, 101))
        assert not any("not written" in line or "locked" in line for line in store.log_tail(run_id, 1000))
