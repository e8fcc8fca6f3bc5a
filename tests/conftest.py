"""Shared by all tests: everything written goes to a throw-away folder, one thread, no network."""

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from distill_core.data import datasets
from distill_core.data.tasks import Task
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker
from tests.support.marks import reached_marks, slow_files_first
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.unpacked_bundle import link_unpacked, share_unpacked
from tests.support.waiting import PROMISE, until

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that start processes or train models, and let slow files run first."""
    for item in items:
        if isinstance(item, pytest.Function):
            for mark in sorted(reached_marks(item)):
                item.add_marker(mark)
    slow_files_first(items, config.rootpath)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an application folder of its own and no GLUE."""
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GLUE_DIR", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the session's folder of unpacked bundled models, one for all its processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bundle"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def shared_bundle(own_home: Path, bundle_folder: Path) -> Iterator[None]:
    """Unpack each bundled model once a session, not once a test; for tests that only read them."""
    link_unpacked(bundle_folder, own_home)
    yield
    share_unpacked(bundle_folder, own_home)


@pytest.fixture
def few_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave 24 of the bundled sample's validation examples, for tests that train and do not mind how well."""
    read = datasets._read_sample

    def some(task: Task, split: str) -> list[Mapping[str, Any]]:
        rows = read(task, split)
        return rows if split == "train" else rows[:: len(rows) // 24][:24]

    monkeypatch.setattr(datasets, "_read_sample", some)


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


def kill_workers(store: Store) -> bool:
    """Kill what works on any run; say whether a run might still have a worker."""
    left = [run for run in store.runs(("running",)) if run.token != FAKE_TOKEN]
    for process in filter(None, map(find_worker, left)):
        process.kill()
    return any(run.pid is None or find_worker(run) for run in left)
