"""Shared by all tests: everything written goes to a throw-away folder, one thread, no network."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distill_core.runs.scheduler import worker_process
from distill_core.runs.store import Store

FAKE_TOKEN = "0123456789abcdef"  # of a run whose worker is made up: nothing is killed for it
PROMISE = 10.0  # seconds within which a stop or a death has been dealt with

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an application folder of its own and no GLUE."""
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GLUE_DIR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def store() -> Iterator[Store]:
    """Return the store of this test's own home; no worker of its runs outlives the test."""
    store = Store()
    yield store
    for run in store.runs(("queued",)):
        store.cancel(run.id)
    assert until(lambda: not kill_workers(store))
    for thread in threading.enumerate():
        if thread.name.startswith("worker-"):
            thread.join(PROMISE)


def until(condition: Callable[[], bool], seconds: float = PROMISE) -> bool:
    """Wait until a condition is met; say whether it was in time."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def kill_workers(store: Store) -> bool:
    """Kill what works on any run; say whether a run might still have a worker."""
    left = [run for run in store.runs(("running",)) if run.token != FAKE_TOKEN]
    for process in filter(None, map(worker_process, left)):
        process.kill()
    return any(run.pid is None or worker_process(run) for run in left)
