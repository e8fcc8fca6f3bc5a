"""The store's file when it is not as it should be: damaged, newer, another program's, gone."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distill_core.errors import StoreError
from distill_core.runs.database import RESERVE_BYTES, BusyError, FullError
from distill_core.runs.store import Store
from tests.support.processes import start_python
from tests.support.stored_runs import TOKEN, claimed_run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return a store that no worker has begun to use."""
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    return Store()


def overwrite_all(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be looked at" * 50)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwrite_tables(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


@pytest.mark.parametrize("damage", [overwrite_all, cut, overwrite_tables])
def test_a_damaged_store_is_set_aside_whole_and_a_new_one_begun(store: Store, damage: Callable[[Path], None]) -> None:
    claimed_run(store)
    for beside in store.path.parent.glob("runs.sqlite-*"):
        beside.unlink()
    damage(store.path)
    content = store.path.read_bytes()
    again = Store()
    assert again.runs() == []
    (aside,) = again.damaged
    assert aside.read_bytes() == content
    assert claimed_run(again, "two")
    assert [run.id for run in Store().runs()] == ["two"]
    assert Store().damaged == [aside]


def test_damage_that_only_a_look_at_the_points_meets_is_said_and_then_set_aside(store: Store) -> None:
    run_id = claimed_run(store)
    store.write(run_id, TOKEN, [(step, "loss", 0.5) for step in range(5000)], None)
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = store.path.read_bytes()
    half = len(content) // 2
    store.path.write_bytes(content[:half] + b"\xa5" * (len(content) - half))
    with pytest.raises(StoreError, match=r"is damaged.*nothing is deleted"):
        Store().metrics(run_id)
    again = Store()
    assert again.runs() == []
    assert len(again.damaged) == 1


def test_a_worker_whose_store_was_set_aside_ends(store: Store) -> None:
    claimed_run(store)
    overwrite_all(store.path)
    Store()
    assert store.write("one", TOKEN, [(1, "loss", 0.5)], None) is None


def test_a_sound_store_that_was_marked_is_kept(store: Store) -> None:
    claimed_run(store)
    store.path.with_name("runs.sqlite.damaged").touch()
    assert [run.id for run in Store().runs()] == ["one"]
    assert Store().damaged == []
    assert not store.path.with_name("runs.sqlite.damaged").exists()


def test_many_processes_set_a_damaged_store_aside_once(store: Store) -> None:
    overwrite_all(store.path)
    code = (
        "from distill_core.config.run_config import RunConfig; from distill_core.runs.store import Store\n"
        "Store().add('run', RunConfig())"
    )
    for process in [start_python(code) for _ in range(6)]:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert len(Store().damaged) == 1
    assert len(Store().runs()) == 1


def test_a_damaged_store_is_not_renamed_while_a_process_has_it_open(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.connection():  # as another process that has read nothing of it yet
        overwrite_all(store.path)
        monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.05)
        with pytest.raises(BusyError, match="in use by another process"):
            Store()
        assert store.damaged == []
    assert len(Store().damaged) == 1


def test_nobody_opens_a_store_while_it_is_begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.05)
    with store.connection(alone=True), pytest.raises(BusyError, match="in use by another process"):
        store.runs()
    assert store.runs() == []


def test_stores_damaged_in_the_same_second_are_all_kept(store: Store) -> None:
    for _ in range(3):
        overwrite_all(store.path)
        Store()
    assert len(store.damaged) == 3


def test_a_store_that_was_only_just_begun_is_not_called_damaged(store: Store) -> None:
    for file in store.path.parent.glob("runs.sqlite*"):
        file.unlink()
    store.path.touch()
    store.path.with_name("runs.sqlite.damaged").touch()
    assert Store().runs() == []
    assert store.damaged == []


def test_a_store_from_a_newer_version_is_refused_politely(store: Store) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"newer version .*format 99.*Update the app"):
        Store()


def test_another_programs_database_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        Store(path)
    assert path.read_bytes() == content


def test_a_store_whose_file_vanished_says_so(store: Store) -> None:
    for file in store.path.parent.glob("runs.sqlite*"):
        file.unlink()
    with pytest.raises(StoreError, match="cannot be used"):
        store.runs()


def test_the_end_of_a_run_is_written_from_the_space_held_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id, write, reserve = claimed_run(store), Store._end, store.path.with_name("runs.sqlite.reserve")
    assert reserve.stat().st_size == RESERVE_BYTES

    def full(self: Store, *given: Any) -> bool:
        if reserve.exists():
            raise FullError("No space left on the disk.")
        return write(self, *given)

    monkeypatch.setattr(Store, "_end", full)
    assert store.end(run_id, TOKEN, "failed", "No space left on the disk.")
    assert store.get(run_id).state == "failed"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=RESERVE_BYTES))
    Store()
    assert not reserve.exists()  # not while the disk is as good as full
    monkeypatch.undo()
    Store(store.path)
    assert reserve.exists()


def test_an_end_that_a_quota_refuses_is_written_from_the_space_held_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, write, reserve = claimed_run(store), Store._end, store.path.with_name("runs.sqlite.reserve")

    def refused(self: Store, *given: Any) -> bool:
        with self.connection():
            if reserve.exists():
                error = sqlite3.OperationalError("disk I/O error")  # what SQLite makes of EDQUOT
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
                raise error
        return write(self, *given)

    monkeypatch.setattr(Store, "_end", refused)
    with pytest.raises(FullError, match="is used up"):
        store._end(run_id, TOKEN, "failed", "")
    assert store.end(run_id, TOKEN, "failed", "No space left on the disk.")
    assert store.get(run_id).state == "failed"


def test_a_store_whose_folder_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    store = Store(tmp_path / "home" / "runs.sqlite")
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(StoreError, match="check the permissions and the free space of its folder"):
        store.runs()


def test_reads_on_one_connection_see_what_others_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    connect = sqlite3.connect
    with store.one_connection():
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: opened.append(1) or connect(*args, **options))
        assert store.runs() == []
        assert not opened
        run = claimed_run(Store(store.path))
        store.annotate(run, note="written inside the block")
        opened.clear()
        assert [(one.id, one.note) for one in store.runs()] == [(run, "written inside the block")]
        assert not opened
    store.runs()
    assert opened
