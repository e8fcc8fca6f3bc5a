"""The file of the run store: one SQLite database in WAL mode, opened by many processes at once.

Every use opens its own connection and closes it, so threads share nothing and no lock outlives a pause. Every fault of
the file becomes a StoreError that says what to do; the file is never deleted. The process that finds it damaged marks
it, and the next one to open the store renames it.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from distill_core.errors import StoreError
from distill_core.runs.migrations import VERSION, migrate

BUSY_SECONDS = 15.0  # how long a call waits for another process's write to end
RESERVE_BYTES = 256 * 1024  # held back, so that a run's end can be written on a full disk
_OWN_BUGS = (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)


class DamagedError(StoreError):
    """The file is damaged and has been marked; whoever opens the store next renames it and creates a new one."""


class FullError(StoreError):
    """The disk that holds the file is full, or refuses to write for a reason SQLite does not report, as a quota."""


class BusyError(StoreError):
    """Another process was writing to the file for BUSY_SECONDS; the same call may succeed later."""


class Database:
    """One SQLite file, created if missing and migrated to the present format.

    Raises StoreError, from any call, when the file is damaged, another program's, from a newer version of this app,
    read-only, out of space or locked for too long. Opening renames a damaged file and creates a new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._in_thread = threading.local()
        if not os.access(self.path.parent, os.W_OK):  # False on a read-only disk, even for root
            raise StoreError(
                f"The folder {self.path.parent} is read-only, or this user may not write there, so no run can be "
                "stored. Set DISTILL_HOME to a folder that can be written to."
            )
        self._marker = self.path.with_name(f"{self.path.name}.damaged")
        self._reserve = self.path.with_name(f"{self.path.name}.reserve")
        if self._marker.exists():
            self._set_aside()
        try:
            self._open()
        except DamagedError:
            self._set_aside()
            self._open()
        self._keep_reserve()

    def free_reserve(self) -> None:
        """Free the reserved space for a write that must succeed even on a full disk."""
        self._reserve.unlink(missing_ok=True)

    @property
    def usable(self) -> bool:
        """Whether the file exists and no process has found it damaged; otherwise the store must be opened again."""
        return self.path.exists() and not self._marker.exists()

    @property
    def damaged(self) -> list[Path]:
        """The damaged files that were renamed, latest first; only the user deletes them."""
        return sorted(self.path.parent.glob(f"{self.path.name}.damaged-*[0-9]"), reverse=True)

    def _open(self) -> None:
        with self.connection(create=True) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                connection.execute("SELECT 1 FROM runs LIMIT 1")
                return
        with self.connection(create=True, alone=True) as connection:
            self._prepare(connection)
            connection.execute("SELECT 1 FROM runs LIMIT 1")

    @contextmanager
    def _lock(self, alone: bool) -> Iterator[None]:
        """Lock the file's name: shared while the file is open, exclusive (`alone`) to create, migrate or rename it.

        SQLite locks the file, not its name: a process that had opened it before it was renamed could overwrite what is
        written to the new file of that name.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        handle = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._busy() from None
                    time.sleep(0.005)
            yield
        finally:
            os.close(handle)  # and with it the lock, as when the process is killed

    def _keep_reserve(self) -> None:
        """Reserve space for `free_reserve`, unless it is reserved already or the disk is nearly full."""
        if self._reserve.exists():
            return
        part = self._reserve.with_name(f"{self._reserve.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):  # the disk has just become full: then there is no reserve
            if shutil.disk_usage(self.path.parent).free < 8 * RESERVE_BYTES:
                return
            part.write_bytes(os.urandom(RESERVE_BYTES))  # random, so that no file system compresses it
            part.replace(self._reserve)
        part.unlink(missing_ok=True)

    def _set_aside(self) -> None:
        """Rename the damaged file and its -wal and -shm files, in one process; the others find it done."""
        with self._lock(alone=True):
            if not self._marker.exists():
                return
            if self._is_sound():  # marked by a process that still had the former file open
                self._marker.unlink()
                return
            now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # in microseconds, so that no two files get one name
            place = self.path.with_name(f"{self._marker.name}-{now}")
            for suffix in (
                "-wal",
                "-shm",
                "",
            ):  # the file itself last: an interrupted rename is repeated
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).rename(place.with_name(place.name + suffix))
            self._marker.unlink()

    def _is_sound(self) -> bool:
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)
            ) as connection:
                if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                    return False
                if self._has_tables(connection):
                    connection.execute("SELECT 1 FROM runs LIMIT 1")
                return True  # also an empty file, which a process was about to fill
        except sqlite3.DatabaseError:
            return False

    @contextmanager
    def one_connection(self) -> Iterator[None]:
        """Use one connection for all reads of this thread in the block: opening one takes longer than a read."""
        with self._new_connection() as connection:
            self._in_thread.connection = connection
            try:
                yield
            finally:
                del self._in_thread.connection

    @contextmanager
    def connection(self, create: bool = False, alone: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file for the block; every statement is a transaction of its own."""
        shared: sqlite3.Connection | None = getattr(self._in_thread, "connection", None)
        if shared is None or create or alone:
            with self._new_connection(create, alone) as connection:
                yield connection
            return
        try:
            yield shared
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    @contextmanager
    def _new_connection(self, create: bool = False, alone: bool = False) -> Iterator[sqlite3.Connection]:
        address = f"{self.path.as_uri()}?mode={'rwc' if create else 'rw'}"
        try:
            with (
                self._lock(alone),
                closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as connection,
            ):
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous = NORMAL")  # in WAL: safe against a killed process
                yield connection
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._explained(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction that excludes all other writers; an exception rolls it back."""
        with self._new_connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # after an exception, closing the connection rolls back

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"The run store {self.path} was written by a newer version of this app (format {version}; "
                f"this one knows up to {VERSION}). Update the app, or set DISTILL_HOME to another folder."
            )
        if version == VERSION:
            return
        if version == 0 and self._has_tables(connection):
            raise StoreError(
                f"{self.path} is a database of another program; move that file away, or set DISTILL_HOME to another "
                "folder."
            )
        self._use_wal(connection)
        if version > 0:
            self._back_up(connection, version)
        migrate(connection)

    def _back_up(self, connection: sqlite3.Connection, version: int) -> None:
        """Copy the file as an older version of this app wrote it, once."""
        backup = self.path.with_name(f"{self.path.name}.format-{version}.backup")
        if backup.exists():
            return
        part = backup.with_name(f"{backup.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        try:
            connection.execute("VACUUM INTO ?", (str(part),))
            part.rename(backup)
        finally:
            part.unlink(missing_ok=True)

    @staticmethod
    def _has_tables(connection: sqlite3.Connection) -> bool:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table'").fetchone() is not None

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(
                f"The folder of the run store {self.path} cannot hold a shared database (a network folder?); "
                "set DISTILL_HOME to a folder on a local disk."
            )

    def _explained(self, error: sqlite3.DatabaseError | OSError) -> Exception:
        """Return the StoreError that says what to do, or the error itself where it is a bug of this app."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF  # the upper bits are the extended error code
        lacks_table = primary == sqlite3.SQLITE_ERROR and str(error).startswith("no such")
        if lacks_table or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            with contextlib.suppress(OSError):
                self._marker.touch()
            return DamagedError(
                f"The run store {self.path} is damaged ({error}). Try again: it is then renamed and a new one created; "
                f"nothing is deleted, and the runs' logs and students remain in {self.path.parent / 'runs'}."
            )
        full = primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and self._no_space()
        if primary == sqlite3.SQLITE_FULL or full:
            return FullError(f"No space left on the disk that holds the run store {self.path}; free some.")
        if primary == sqlite3.SQLITE_IOERR:
            return FullError(
                f"The disk that holds the run store {self.path} failed ({error}), or this user's quota on it "
                "is used up; free some space, or set DISTILL_HOME to a folder on another disk."
            )
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            return self._busy()
        if isinstance(error, sqlite3.DatabaseError) and primary in _OWN_BUGS:
            return error
        return StoreError(
            f"The run store {self.path} cannot be used ({error}); check the permissions and the free space of its "
            "folder, or set DISTILL_HOME to another one."
        )

    def _busy(self) -> BusyError:
        return BusyError(
            f"The run store {self.path} was in use by another process for {BUSY_SECONDS:.0f} s; try again."
        )

    def _no_space(self) -> bool:
        """Return whether the disk has no space for SQLite's -wal and -shm files; False where the folder is gone."""
        try:
            return shutil.disk_usage(self.path.parent).free < 64 * 1024
        except OSError:
            return False
