"""Stores of older versions are brought up to date, and steps that have shipped stay as they were."""

import hashlib
import sqlite3
from pathlib import Path

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import StoreError
from distill_core.runs.events import DataUsed
from distill_core.runs.migrations import MIGRATIONS, VERSION
from distill_core.runs.store import Store

SHIPPED = (
    "db43f9b371b86ebb",
    "4adfd7d3872f1f36",
    "bd1c8d7a88515504",
    "73c186b939eafba7",
    "ef234cedee18afec",
)  # SHA-256, its beginning, of each step


def test_a_step_that_has_shipped_is_never_edited() -> None:
    found = [hashlib.sha256("\n".join(step).encode()).hexdigest()[:16] for step in MIGRATIONS]
    assert tuple(found) == SHIPPED


def first_version(path: Path) -> None:
    """Make a store as the first version did, with one finished run and a number of it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO runs (id, config, state, created, step) VALUES ('old', ?, 'finished', 1.0, 3)",
            (RunConfig(name="from before").to_json(),),
        )
        connection.execute("INSERT INTO metrics (run_number, step, name, value) VALUES (1, 3, 'loss', 0.5)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_store_of_the_first_version_keeps_its_runs_and_takes_new_ones(tmp_path: Path) -> None:
    first_version(tmp_path / "runs.sqlite")
    store = Store(tmp_path / "runs.sqlite")
    assert store.get("old").config.name == "from before"
    assert store.latest("old") == {"loss": 0.5}
    assert store.data_of("old") == []  # not recorded then
    used = DataUsed("train", "here", 5, "digest")
    assert store.add("new", RunConfig())
    assert store.claim(lambda _: ("cpu",), "token") is not None
    assert store.write("new", "token", [], None, [used]) is not None
    assert Store(store.path).data_of("new") == [used]
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    connection.close()


def test_a_store_is_kept_as_it_was_before_it_is_changed(tmp_path: Path) -> None:
    first_version(tmp_path / "runs.sqlite")
    Store(tmp_path / "runs.sqlite")
    Store(tmp_path / "runs.sqlite")
    kept = tmp_path / "runs.sqlite.format-1.backup"
    with sqlite3.connect(kept) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)  # VACUUM keeps it
        assert connection.execute("SELECT id, state FROM runs").fetchall() == [("old", "finished")]
    connection.close()
    assert {path.name for path in tmp_path.iterdir() if "backup" in path.name} == {kept.name}


def test_a_copy_that_fails_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_version(tmp_path / "runs.sqlite")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(StoreError, match="No space left on device"):
            Store(tmp_path / "runs.sqlite")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []
    assert [run.id for run in Store(tmp_path / "runs.sqlite").runs()] == ["old"]


def test_a_queue_of_before_pauses_keeps_its_order_and_a_stop_its_meaning(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    with sqlite3.connect(path) as connection:
        for statement in (*MIGRATIONS[0], *MIGRATIONS[1]):
            connection.execute(statement)
        for run_id, state, asked in (("b", "queued", None), ("a", "queued", None), ("c", "running", 5.0)):
            connection.execute(
                "INSERT INTO runs (id, config, state, created, stop_requested) VALUES (?, ?, ?, 1.0, ?)",
                (run_id, RunConfig(device="cpu").to_json(), state, asked),
            )
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    store = Store(path)
    assert (store.get("c").status, store.get("c").stop_kind, store.get("b").stop_kind) == ("stopping", "stop", None)
    assert [run.id for run in sorted(store.runs(("queued",)), key=lambda run: run.position)] == ["b", "a"]
    store.add("later", RunConfig())
    assert store.get("later").position > store.get("c").position
