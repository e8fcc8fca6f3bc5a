"""A worker is known by pid, start time and token: no other process is taken for it, nor it for another."""

import subprocess
import sys
import time

import psutil
import pytest

from distill_core.config.run_config import RunConfig
from distill_core.runs import lifecycle, worker_process
from distill_core.runs.scheduler import enqueue, reconcile, stop
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker, process_start
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.waiting import until


def claimed(
    store: Store, process: subprocess.Popen[bytes], started: float | None = None, token: str = FAKE_TOKEN
) -> str:
    """Return a running run that says `process` is its worker."""
    run_id = enqueue(store, RunConfig(device="cpu"))
    run = store.claim(lambda _: ("cpu",), token, only=run_id)
    assert run is not None
    began = process_start(psutil.Process(process.pid)) if started is None else started
    assert store.attach(run_id, token, process.pid, began)
    return run_id


def test_a_zombie_counts_as_gone(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    run_id = claimed(store, child, token=f"{worker_process.FOREGROUND}1")  # pid and start time are right
    assert until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    reconcile(store)
    assert store.get(run_id).state == "lost"
    child.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts only by its clock")
def test_setting_the_clock_loses_no_run_in_the_foreground(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    working = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    run_id = claimed(store, working, token=f"{worker_process.FOREGROUND}1")
    before = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: before(process) + 3600)
    reconcile(store)
    assert store.get(run_id).state == "running"
    working.kill()
    working.wait()
    reconcile(store)
    assert store.get(run_id).state == "lost"


def test_a_run_in_the_foreground_of_an_older_version_is_known(store: Store) -> None:
    working = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    noted = psutil.Process(working.pid).create_time()
    run_id = claimed(store, working, noted, token=f"{worker_process.FOREGROUND}1")
    assert find_worker(store.get(run_id)) is not None
    working.kill()
    working.wait()


@pytest.mark.parametrize("started", [None, 1.0])
def test_a_reused_pid_is_never_signalled(store: Store, monkeypatch: pytest.MonkeyPatch, started: float | None) -> None:
    monkeypatch.setattr(lifecycle, "TERM_AFTER", 0.0)
    monkeypatch.setattr(lifecycle, "KILL_AFTER", 0.0)
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
    run_id = claimed(store, innocent, started)
    assert find_worker(store.get(run_id)) is None
    assert stop(store, run_id).status == "stopping"
    reconcile(store)
    assert store.get(run_id).state == "stopped"
    time.sleep(0.3)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_worker_whose_program_is_just_being_loaded_is_known_by_its_start(store: Store) -> None:
    # The system shows no environment of a process between its birth and the first line of its program.
    sleeper = subprocess.Popen(["/bin/sleep", "300"], env={}, start_new_session=True)
    assert psutil.Process(sleeper.pid).environ() == {}
    reused = claimed(store, sleeper, 1.0)
    reconcile(store)
    assert store.get(reused).state == "lost"
    born = claimed(store, sleeper)
    reconcile(store)
    assert store.get(born).state == "running"
    time.sleep(0.3)
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()
    reconcile(store)
    assert store.get(born).state == "lost"
