"""Rows of the store that can no longer be read stand in nobody's way."""

import sqlite3

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store

TOKEN = "0123456789abcdef"  # of tests/conftest.py: no worker is looked for


def damage(store: Store, run_id: str) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET config = '[1]' WHERE id = ?", (run_id,))


def state(store: Store, run_id: str) -> tuple[str, str]:
    with sqlite3.connect(store.path) as connection:
        found: tuple[str, str] = connection.execute("SELECT state, reason FROM runs WHERE id = ?", (run_id,)).fetchone()
    return found


def test_a_damaged_running_run_gives_its_device_back(store: Store) -> None:
    first, second = enqueue(store, RunConfig(device="cpu")), enqueue(store, RunConfig(device="cpu"))
    assert store.claim(lambda _: ("cpu",), TOKEN) is not None
    damage(store, first)
    claimed = store.claim(lambda _: ("cpu",), TOKEN)
    assert claimed is not None
    assert claimed.id == second
    assert state(store, first)[0] == "failed"
    assert "damaged" in state(store, first)[1]
    assert store.end(second, TOKEN, "stopped")


def test_a_damaged_queued_run_does_not_hide_the_queue(store: Store) -> None:
    first, second = enqueue(store, RunConfig(device="cpu")), enqueue(store, RunConfig(device="cpu"))
    damage(store, second)
    assert store.has_runs(("queued",))
    claimed = store.claim(lambda _: ("cpu",), TOKEN)
    assert claimed is not None
    assert claimed.id == first
    assert store.claim(lambda _: ("cpu",), TOKEN) is None
    assert state(store, second)[0] == "failed"
    assert not store.has_runs(("queued",))
    assert store.end(first, TOKEN, "stopped")


@pytest.mark.parametrize("tags", ["null", "[x", "[1]", "", "[" * 100_000])
def test_damaged_tags_hide_no_run_and_hold_no_queue(store: Store, caplog: pytest.LogCaptureFixture, tags: str) -> None:
    first, second = enqueue(store, RunConfig(device="cpu")), enqueue(store, RunConfig(device="cpu"))
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET tags = ? WHERE id = ?", (tags, first))
    assert [(run.id, run.tags) for run in store.runs()] == [(second, ()), (first, ())]
    assert f"the tags of run {first} in the store are damaged" in caplog.text
    claimed = store.claim(lambda _: ("cpu",), TOKEN)
    assert claimed is not None
    assert claimed.id == first
    store.annotate(first, tags=["whole"])
    assert store.get(first).tags == ("whole",)
    assert store.end(first, TOKEN, "stopped")
