"""The run store: runs and their metrics in one SQLite file, written and read by many processes at once.

WAL lets readers go on while one writes; every call opens a connection of its own and closes it, so
nothing is shared between threads or held over a pause. A run's state changes only by an UPDATE that
names the states it may come from, and a worker's writes only pass with the token it was started with:
a worker that was given up cannot write into what came after it. Log lines are in the run's log file,
not in here.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, cast

from distill_core.config import RunConfig
from distill_core.errors import ConfigError, RunError, StoreError
from distill_core.events import DataUsed, Phase
from distill_core.migrations import VERSION, migrate
from distill_core.paths import home, run_folder

RunState = Literal["queued", "running", "finished", "failed", "stopped", "lost"]
ACTIVE: tuple[RunState, ...] = ("queued", "running")
ENDED: tuple[RunState, ...] = ("finished", "failed", "stopped", "lost")

BUSY_SECONDS = 15.0  # how long a call waits for another process's write to end
LOG_NAME = "log.txt"
_LOG_TAIL_BYTES = 64 * 1024
_OF_RUN = "run_number = (SELECT number FROM runs WHERE id = ?)"
_OUR_BUGS = (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE)


@dataclass(frozen=True)
class Run:
    """One row of the store; times in seconds since the epoch, None for what has not happened.

    `device` is the concrete one, None while queued. `pid`, `pid_started` and `token` identify the
    worker process. `model_path` is the folder of the last checkpoint.
    """

    id: str
    number: int
    config: RunConfig
    state: RunState
    reason: str
    created: float
    started: float | None
    ended: float | None
    device: str | None
    phase: str
    phase_detail: str
    step: int
    stop_requested: float | None
    heartbeat: float | None
    pid: int | None
    pid_started: float | None
    token: str | None
    model_path: Path | None

    @property
    def active(self) -> bool:
        """Whether the run waits or works."""
        return self.state in ACTIVE

    @property
    def status(self) -> str:
        """The state in a word, `stopping` while a stop has been asked for and not yet happened."""
        return "stopping" if self.state == "running" and self.stop_requested is not None else self.state

    @property
    def title(self) -> str:
        """What the run is called: its name, else its id."""
        return self.config.name or self.id


@dataclass(frozen=True)
class MetricPoint:
    """One number of a run; `cursor` grows with every point written, `value` is nan where undefined."""

    cursor: int
    step: int
    name: str
    value: float


class Store:
    """The runs of one SQLite file, begun if missing.

    Raises StoreError, from any call, when the file is damaged, another program's, from a newer version
    of this app, out of space or locked for too long; the file is never deleted or replaced.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open the store at `path`, by default `runs.sqlite` in the application's folder."""
        self.path = (path or home() / "runs.sqlite").resolve()
        with self._connection(create=True) as connection:
            self._prepare(connection)

    # reading ---------------------------------------------------------------------------------

    def get(self, run_id: str) -> Run:
        """Return one run; RunError naming the latest ones where there is none of this id."""
        with self._connection() as connection:
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            known = ", ".join(run.id for run in self.runs(limit=5)) or "there are none yet"
            raise RunError(f"Unknown run {run_id[:80]!r}; the latest runs: {known}.")
        return _run(row)

    def runs(self, states: Sequence[str] | None = None, limit: int | None = None) -> list[Run]:
        """Return the runs in any of these states (all for None), newest first."""
        wanted = tuple(states if states is not None else ACTIVE + ENDED)
        query = f"SELECT * FROM runs WHERE state IN ({_marks(wanted)}) ORDER BY number DESC LIMIT ?"
        with self._connection() as connection:
            rows = connection.execute(query, (*wanted, -1 if limit is None else limit)).fetchall()
        return [run for run in map(_readable_run, rows) if run is not None]

    def waiting(self) -> bool:
        """Tell whether any run is queued, readable or not."""
        with self._connection() as connection:
            return connection.execute("SELECT 1 FROM runs WHERE state = 'queued' LIMIT 1").fetchone() is not None

    def metrics(self, run_id: str, after: int = 0, names: Sequence[str] | None = None) -> list[MetricPoint]:
        """Return the points written after the cursor `after`, in the order of writing, of all names or of these."""
        chosen = "" if names is None else f" AND name IN ({_marks(names)})"
        columns = "cursor, step, name, value"
        query = f"SELECT {columns} FROM metrics WHERE {_OF_RUN} AND cursor > ?{chosen} ORDER BY cursor"
        with self._connection() as connection:
            rows = connection.execute(query, (run_id, after, *(names or ()))).fetchall()
        return [MetricPoint(row["cursor"], row["step"], row["name"], _number(row["value"])) for row in rows]

    def latest(self, run_id: str) -> dict[str, float]:
        """Return the last value of every metric of a run, by name."""
        query = f"SELECT name, value, MAX(cursor) FROM metrics WHERE {_OF_RUN} GROUP BY name ORDER BY name"
        with self._connection() as connection:
            return {row["name"]: _number(row["value"]) for row in connection.execute(query, (run_id,))}

    def data_of(self, run_id: str) -> list[DataUsed]:
        """Return what a run trained and validated on, once it has loaded it; none for runs of older versions."""
        query = f"SELECT split, source, examples, fingerprint FROM data_used WHERE {_OF_RUN} ORDER BY split"
        with self._connection() as connection:
            return [DataUsed(**row) for row in connection.execute(query, (run_id,))]

    def log_tail(self, run_id: str, lines: int = 40) -> list[str]:
        """Return the last lines of a run's log, none while there is no log; RunError for an unknown run."""
        path = run_folder(self.get(run_id).id) / LOG_NAME
        try:
            with path.open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - _LOG_TAIL_BYTES))
                text = log.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        kept = [line.rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")]  # the last state of a progress bar
        return kept[-lines:] if text.strip() else []

    # changing a run's state ------------------------------------------------------------------

    def add(self, run_id: str, config: RunConfig) -> bool:
        """Queue a new run; False where the id is taken."""
        query = "INSERT OR IGNORE INTO runs (id, config, state, created) VALUES (?, ?, 'queued', ?)"
        with self._writing() as connection:
            return connection.execute(query, (run_id, config.to_json(), time.time())).rowcount == 1

    def claim(self, device_of: Callable[[str], str], token: str, only: str | None = None) -> Run | None:
        """Make the first queued run whose device is free a running one, and return it; None if there is none.

        One transaction that shuts out every other writer, so a device never gets two. `device_of` turns
        a configured device into a concrete one; a run it refuses (ConfigError) fails with that reason.
        With `only`, no other run is taken, nor does that one overtake those before it on its device.
        """
        with self._writing() as connection:
            taken = _devices_taken(connection)
            waiting = connection.execute("SELECT id, config FROM runs WHERE state = 'queued' ORDER BY number")
            for row in waiting.fetchall():
                try:
                    device = device_of(RunConfig.from_json(row["config"]).device)
                except ConfigError as error:
                    _move(connection, row["id"], "failed", str(error), ("queued",))
                    continue
                if device in taken or (only is not None and row["id"] != only):
                    taken.add(device)
                    continue
                now = time.time()
                connection.execute(
                    "UPDATE runs SET state = 'running', started = ?, heartbeat = ?, device = ?, token = ?"
                    " WHERE id = ? AND state = 'queued'",
                    (now, now, device, token, row["id"]),
                )
                return _run(connection.execute("SELECT * FROM runs WHERE id = ?", (row["id"],)).fetchone())
        return None

    def cancel(self, run_id: str) -> bool:
        """Stop a run that is still queued; False where it is not."""
        with self._writing() as connection:
            return _move(connection, run_id, "stopped", "Cancelled before it began.", ("queued",))

    def request_stop(self, run_id: str) -> bool:
        """Ask a running run to stop; False where it is not running or has been asked before."""
        query = "UPDATE runs SET stop_requested = ? WHERE id = ? AND state = 'running' AND stop_requested IS NULL"
        with self._writing() as connection:
            return connection.execute(query, (time.time(), run_id)).rowcount == 1

    def end(self, run_id: str, token: str, state: RunState, reason: str = "") -> bool:
        """End a running run that was started with this token; False where it is no longer so."""
        if state not in ENDED:
            raise ValueError(f"a run ends as one of {ENDED}, not {state!r}")
        with self._writing() as connection:
            return _move(connection, run_id, state, reason, ("running",), token)

    # what a worker writes --------------------------------------------------------------------

    def attach(self, run_id: str, token: str, pid: int, pid_started: float) -> bool:
        """Note which process works on a run; False where the run is not running with this token."""
        query = "UPDATE runs SET pid = ?, pid_started = ? WHERE id = ? AND token = ? AND state = 'running'"
        with self._writing() as connection:
            return connection.execute(query, (pid, pid_started, run_id, token)).rowcount == 1

    def set_model(self, run_id: str, token: str, path: Path) -> bool:
        """Note where the last checkpoint of a running run is; False where the run is not this token's."""
        query = "UPDATE runs SET model_path = ? WHERE id = ? AND token = ? AND state = 'running'"
        with self._writing() as connection:
            return connection.execute(query, (str(path), run_id, token)).rowcount == 1

    def write(
        self,
        run_id: str,
        token: str,
        points: Sequence[tuple[int, str, float]],
        phase: Phase | None,
        data: Sequence[DataUsed] = (),
    ) -> Run | None:
        """Write points (step, name, value), the phase (None: unchanged), data and a heartbeat in one transaction.

        Returns the run as it then is (so a worker sees a requested stop), None where it is not this
        token's any more; then nothing was written.
        """
        beat = (
            "UPDATE runs SET heartbeat = ?, step = MAX(step, ?), phase = COALESCE(?, phase),"
            " phase_detail = COALESCE(?, phase_detail) WHERE id = ? AND token = ? AND state = 'running'"
        )
        step = max((point[0] for point in points), default=0)
        entered = (None, None) if phase is None else (phase.name, phase.detail)
        with self._writing() as connection:
            if connection.execute(beat, (time.time(), step, *entered, run_id, token)).rowcount == 0:
                return None
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
            connection.executemany(
                "INSERT INTO metrics (run_number, step, name, value) VALUES (?, ?, ?, ?)",
                [(row["number"], *point) for point in points],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO data_used VALUES (?, ?, ?, ?, ?)",
                [(row["number"], *astuple(used)) for used in data],
            )
            return _run(row)

    # connections -----------------------------------------------------------------------------

    @contextmanager
    def _connection(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        address = f"{self.path.as_uri()}?mode={'rwc' if create else 'rw'}"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA synchronous = NORMAL")  # in WAL: safe against a killed process
                yield connection
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._explained(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # left by an exception, the transaction ends with the connection: undone

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(
                f"The run store {self.path} was written by a newer version of this app (format {version}; "
                f"this one knows up to {VERSION}). Update the app, or set DISTILL_HOME to another folder."
            )
        if version == VERSION:
            return
        if version == 0 and self._has_tables_of_others(connection):
            raise StoreError(
                f"{self.path} is a database of another program; set DISTILL_HOME to another folder, or move the file."
            )
        self._use_wal(connection)
        migrate(connection)

    @staticmethod
    def _has_tables_of_others(connection: sqlite3.Connection) -> bool:
        tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return bool(tables) and not {"runs", "metrics"} <= tables  # ours: another process migrated it just now

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch the file to WAL; SQLite does not wait by itself where two processes do it at once."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if mode != "wal":
            raise StoreError(
                f"The folder of the run store {self.path} cannot hold a shared database (a network folder?); "
                "set DISTILL_HOME to a folder on a local disk."
            )

    def _explained(self, error: sqlite3.DatabaseError | OSError) -> Exception:
        """Return the StoreError that says what to do, or the error itself where it is a bug of ours."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF  # the upper bits say where it happened
        lacks_table = primary == sqlite3.SQLITE_ERROR and str(error).startswith("no such")
        if lacks_table or primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreError(
                f"The run store {self.path} is damaged ({error}). Nothing was deleted. Rename the file and start "
                f"again: a new store is begun, and the runs' logs and students stay in {self.path.parent / 'runs'}."
            )
        if primary == sqlite3.SQLITE_FULL:
            return StoreError(f"No space left on the disk that holds the run store {self.path}; free some.")
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
            return StoreError(
                f"The run store {self.path} was in use by another process for {BUSY_SECONDS:.0f} s; try again."
            )
        if isinstance(error, sqlite3.DatabaseError) and primary in _OUR_BUGS:
            return error
        return StoreError(f"The run store {self.path} cannot be used ({error}); check its folder's rights and space.")


def _move(
    connection: sqlite3.Connection,
    run_id: str,
    to: RunState,
    reason: str,
    start: Sequence[RunState],
    token: str | None = None,
) -> bool:
    """Change a run's state if it is in one of the states `start` (and has this token); say whether it was."""
    query = f"UPDATE runs SET state = ?, reason = ?, ended = ? WHERE id = ? AND state IN ({_marks(start)})"
    values: list[object] = [to, reason, time.time(), run_id, *start]
    if token is not None:
        query += " AND token = ?"
        values.append(token)
    return connection.execute(query, values).rowcount == 1


def _devices_taken(connection: sqlite3.Connection) -> set[str]:
    """Return the devices of running runs; one whose settings cannot be read any more fails, as nobody can watch it."""
    taken = set()
    for row in connection.execute("SELECT id, device, config FROM runs WHERE state = 'running'").fetchall():
        try:
            RunConfig.from_json(row["config"])
            taken.add(row["device"])
        except ConfigError as error:
            _move(connection, row["id"], "failed", f"Its settings in the store are damaged: {error}", ("running",))
    return taken


def _readable_run(row: sqlite3.Row) -> Run | None:
    """Return a row's run, None (and a line in the log) where it cannot be read: it must not hide the others."""
    try:
        return _run(row)
    except StoreError as error:
        logging.getLogger(__name__).warning("left out of the list: %s", error)
        return None


def _run(row: sqlite3.Row) -> Run:
    values = dict(row)
    try:
        values["config"] = RunConfig.from_json(values["config"])
    except ConfigError as error:
        raise StoreError(f"Run {values['id']} in the store cannot be read: {error}") from error
    path = cast(str | None, values["model_path"])
    values["model_path"] = None if path is None else Path(path)
    return Run(**values)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
