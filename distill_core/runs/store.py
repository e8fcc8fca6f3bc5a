"""The run store: runs and their metrics in one SQLite file, written and read by many processes at once.

WAL lets readers continue while one process writes. A run's state changes only by an UPDATE that names the states it may
come from, and a worker's writes succeed only with the token it was started with: a worker that was given up cannot
write to a later attempt. Log lines are in the run's log file, not in the store.
"""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.devices import card_of
from distill_core.errors import ConfigError, RunError
from distill_core.paths import home, run_folder
from distill_core.runs.database import Database, FullError
from distill_core.runs.events import DataUsed, Phase
from distill_core.runs.lifecycle import (
    ACTIVE,
    CANCELLED,
    ENDED,
    SETTINGS_DAMAGED,
    Ending,
    RunState,
    StopKind,
    ending_as_requested,
    states_before,
    stopped_state,
)
from distill_core.runs.log import LOG_NAME, search, tail
from distill_core.runs.metric_names import EVALUATED
from distill_core.runs.run import MetricPoint, Run, readable_run, run_from_row, stored_config

NOTE_LENGTH = 10_000  # characters
_LAST = "(SELECT COALESCE(MAX(position), 0) + 1 FROM runs)"  # behind all queued runs
_EVALUATED = [f"name GLOB '{prefix}*'" for prefix in EVALUATED]
EVALUATIONS = (  # for every run and metric, the evaluation with the largest value of a column
    "SELECT id, name, metrics.step AS at, value, MAX({}) FROM metrics JOIN runs ON number = run_number"
    f" WHERE ({' OR '.join(_EVALUATED)})"  # exactly the index's condition, or SQLite would not use it
    " AND metrics.step >= {} GROUP BY run_number, name"
)
LAST_EVALUATIONS, BEST_EVALUATIONS = EVALUATIONS.format("cursor", 0), EVALUATIONS.format("value", 1)
_OF_RUN = "run_number = (SELECT number FROM runs WHERE id = ?)"


class Store(Database):
    """The runs of one SQLite file; StoreError, from any call, as `Database` says."""

    def __init__(self, path: Path | None = None) -> None:
        """Open the store at `path`, by default `runs.sqlite` in the application's folder."""
        super().__init__(path or home() / "runs.sqlite")

    # reading ---------------------------------------------------------------------------------

    def get(self, run_id: str) -> Run:
        """Return one run; RunError naming the latest ones where there is none of this id."""
        with self.connection() as connection:
            whole = run_id.encode(errors="replace").decode()  # SQLite refuses lone surrogates
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (whole,)).fetchone()
        if row is None:
            known = ", ".join(run.id for run in self.runs(limit=5)) or "there are none yet"
            raise RunError(f"Unknown run {run_id[:80]!r}; the latest runs: {known}.")
        return run_from_row(row)

    def runs(self, states: Sequence[str] | None = None, limit: int | None = None) -> list[Run]:
        """Return the runs in any of these states (all for None), newest first."""
        wanted = tuple(states if states is not None else ACTIVE + ENDED)
        query = f"SELECT * FROM runs WHERE state IN ({_marks(wanted)}) ORDER BY number DESC LIMIT ?"
        with self.connection() as connection:
            rows = connection.execute(query, (*wanted, -1 if limit is None else limit)).fetchall()
        return [run for run in map(readable_run, rows) if run is not None]

    def has_runs(self, states: Sequence[str]) -> bool:
        """Return whether any run is in one of these states, readable or not."""
        query = f"SELECT 1 FROM runs WHERE state IN ({_marks(states)}) LIMIT 1"
        with self.connection() as connection:
            return connection.execute(query, tuple(states)).fetchone() is not None

    def metrics(self, run_id: str, after: int = 0, names: Sequence[str] | None = None) -> list[MetricPoint]:
        """Return the points written after the cursor `after`, in the order of writing, of all names or of these."""
        chosen = "" if names is None else f" AND name IN ({_marks(names)})"
        columns = "cursor, step, name, value"
        query = f"SELECT {columns} FROM metrics WHERE {_OF_RUN} AND cursor > ?{chosen} ORDER BY cursor"
        with self.connection() as connection:
            rows = connection.execute(query, (run_id, after, *(names or ()))).fetchall()
        return [MetricPoint(row["cursor"], row["step"], row["name"], _number(row["value"])) for row in rows]

    def latest(self, run_id: str) -> dict[str, float]:
        """Return the last value of every metric of a run, by name."""
        query = f"SELECT name, value, MAX(cursor) FROM metrics WHERE {_OF_RUN} GROUP BY name ORDER BY name"
        with self.connection() as connection:
            return {row["name"]: _number(row["value"]) for row in connection.execute(query, (run_id,))}

    def evaluations(self, best: bool = False) -> dict[str, dict[str, tuple[int, float]]]:
        """Return the step and value of each run's last evaluation, by run id and metric.

        With `best`, those of the highest value instead, without the evaluation of the untrained student.
        """
        evaluations: dict[str, dict[str, tuple[int, float]]] = {}
        with self.connection() as connection:
            for row in connection.execute(BEST_EVALUATIONS if best else LAST_EVALUATIONS):
                evaluations.setdefault(row["id"], {})[row["name"]] = (row["at"], _number(row["value"]))
        return evaluations

    def data_of(self, run_id: str) -> list[DataUsed]:
        """Return what a run trained and validated on, once it has loaded it; none for runs of older versions."""
        query = f"SELECT split, source, examples, fingerprint FROM data_used WHERE {_OF_RUN} ORDER BY split"
        with self.connection() as connection:
            return [DataUsed(**row) for row in connection.execute(query, (run_id,))]

    def log_tail(self, run_id: str, lines: int = 40) -> list[str]:
        """Return the last lines of a run's log, none while there is no log; RunError for an unknown run."""
        return tail(run_folder(self.get(run_id).id) / LOG_NAME, lines)

    def search_log(self, run_id: str, words: str, lines: int) -> list[str]:
        """Return the last lines of a run's whole log that contain the words, in any case; RunError likewise."""
        return search(run_folder(self.get(run_id).id) / LOG_NAME, words, lines)

    # changing a run's state ------------------------------------------------------------------

    def add(self, run_id: str, config: RunConfig) -> bool:
        """Queue a new run; False where the id is taken."""
        query = f"INSERT OR IGNORE INTO runs (id, config, state, created, position) VALUES (?, ?, 'queued', ?, {_LAST})"
        with self.writing() as connection:
            return connection.execute(query, (run_id, config.to_json(), time.time())).rowcount == 1

    def claim(self, devices_for: Callable[[str], Sequence[str]], token: str, only: str | None = None) -> Run | None:
        """Make the first queued run whose device is free a running one, and return it; None if there is none.

        One transaction that excludes all other writers, so no device gets two runs. `devices_for` returns the devices
        that a configured one may mean; a run that it refuses (ConfigError) fails with that reason. With `only`, no
        other run is claimed, and that run does not overtake those queued before it for its device.
        """
        with self.writing() as connection:
            taken = _devices_taken(connection)
            waiting = connection.execute("SELECT id, config FROM runs WHERE state = 'queued' ORDER BY position")
            for row in waiting.fetchall():
                try:
                    wanted = devices_for(stored_config(row["config"]).device)
                except ConfigError as error:
                    _move(connection, row["id"], "failed", str(error), "queued")
                    continue
                device = next((device for device in wanted if card_of(device) not in taken), None)
                if device is None:
                    continue
                if only is not None and row["id"] != only:
                    taken.add(card_of(device))
                    continue
                now = time.time()
                before = states_before("running")
                connection.execute(
                    "UPDATE runs SET state = 'running', started = ?, heartbeat = ?, device = ?, token = ?"
                    f" WHERE id = ? AND state IN ({_marks(before)})",
                    (now, now, device, token, row["id"], *before),
                )
                return run_from_row(connection.execute("SELECT * FROM runs WHERE id = ?", (row["id"],)).fetchone())
        return None

    def cancel(self, run_id: str, kind: StopKind = "stop") -> bool:
        """Take a queued run out of the queue, stopped or paused; False where it is not queued."""
        with self.writing() as connection:
            return _move(connection, run_id, stopped_state(kind), CANCELLED[kind], "queued")

    def request_stop(self, run_id: str, kind: StopKind) -> bool:
        """Request that a running run stops or pauses; False where it is not running or that was requested before.

        A stop may follow a pause; the time of the first request counts.
        """
        query = (
            "UPDATE runs SET stop_requested = COALESCE(stop_requested, ?), wish = ? WHERE id = ? AND state = 'running'"
            " AND (wish IS NULL OR (wish = 'pause' AND ? = 'stop'))"
        )
        with self.writing() as connection:
            return connection.execute(query, (time.time(), kind, run_id, kind)).rowcount == 1

    def requeue(self, run_id: str, allowed: Callable[[Run], bool] = lambda _: True) -> bool:
        """Put an interrupted run at the end of the queue; False where it is in another state or is not `allowed` to.

        `allowed` is called while no other process can change the run or delete its checkpoint.
        """
        before = states_before("queued")
        query = (
            "UPDATE runs SET state = 'queued', reason = '', phase = '', phase_detail = '', device = NULL, token = NULL,"
            " pid = NULL, pid_started = NULL, heartbeat = NULL, stop_requested = NULL, wish = NULL,"
            " seconds_before = seconds_before + COALESCE(ended - started, 0), started = NULL, ended = NULL,"
            f" position = {_LAST} WHERE id = ? AND state IN ({_marks(before)})"
        )
        with self.writing() as connection:
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None or not allowed(run_from_row(row)):
                return False
            return connection.execute(query, (run_id, *before)).rowcount == 1

    def reorder(self, run_id: str, earlier: bool) -> bool:
        """Swap a queued run with the one before or after it; False where there is none."""
        sign, order = ("<", "DESC") if earlier else (">", "ASC")
        with self.writing() as connection:
            query = "SELECT number, position FROM runs WHERE id = ? AND state = 'queued'"
            own = connection.execute(query, (run_id,)).fetchone()
            query = (
                f"SELECT number, position FROM runs WHERE state = 'queued' AND position {sign} ?"
                f" ORDER BY position {order} LIMIT 1"
            )
            other = None if own is None else connection.execute(query, (own["position"],)).fetchone()
            if other is None:
                return False
            for row, place in ((own, other), (other, own)):
                connection.execute("UPDATE runs SET position = ? WHERE number = ?", (place["position"], row["number"]))
        return True

    def end(self, run_id: str, token: str, state: RunState, reason: str = "", model_path: Path | None = None) -> bool:
        """End a running run that was started with this token; False where it is no longer so.

        `model_path`: the folder of its last checkpoint, None where the store's value is right. It is written with the
        end because no other write gets the space held back for a full disk. A stop requested until now changes the end
        as `lifecycle.ending_as_requested` says: `request_stop` promised it.
        """
        try:
            return self._end(run_id, token, state, reason, model_path)
        except FullError:  # a run that is over must not be shown as running, whatever else there is no room for
            self.free_reserve()
            return self._end(run_id, token, state, reason, model_path)

    def _end(self, run_id: str, token: str, state: RunState, reason: str, model_path: Path | None = None) -> bool:
        with self.writing() as connection:
            query = "SELECT step, phase, wish, model_path FROM runs WHERE id = ? AND token = ? AND state = 'running'"
            row = connection.execute(query, (run_id, token)).fetchone()
            if row is None:
                return False
            path = row["model_path"] if model_path is None else str(model_path)
            ending = ending_as_requested(
                Ending(state, reason), row["wish"], row["step"], row["phase"], has_checkpoint=path is not None
            )
            return _move(connection, run_id, ending.state, ending.reason, "running", token, path)

    # what a user writes ----------------------------------------------------------------------

    def annotate(
        self, run_id: str, *, name: str | None = None, note: str | None = None, tags: Sequence[str] | None = None
    ) -> None:
        """Set a run's name, note or tags; None leaves one unchanged. ConfigError for text that is too long or invalid.

        Tags are stripped; empty and repeated ones are dropped.
        """
        columns: dict[str, str] = {}
        if name is not None:
            columns["renamed"] = str(FIELDS["name"].check(name.strip()))
        if note is not None:
            columns["note"] = _short_enough("note", note, NOTE_LENGTH)
            if re.search("[\ud800-\udfff]", note):
                raise ConfigError("The note contains an invalid Unicode character (a lone surrogate); remove it.")
        if tags is not None:
            columns["tags"] = _tags(tags)
        with self.writing() as connection:
            _annotate(connection, run_id, columns)

    def retag(self, run_ids: Sequence[str], more: Sequence[str], less: Sequence[str]) -> None:
        """Add and remove tags of several runs, of all or of none; raises as `get` and `annotate` do."""
        with self.writing() as connection:
            for run_id in run_ids:
                had = [tag for tag in self.get(run_id).tags if tag not in less]
                _annotate(connection, run_id, {"tags": _tags([*had, *more])})

    @contextmanager
    def lock_ended(self, run_id: str) -> Iterator[bool]:
        """Yield whether a run has ended; inside the block no process can start it again or write anything else."""
        with self.writing() as connection:
            query = f"SELECT 1 FROM runs WHERE id = ? AND state IN ({_marks(ENDED)})"
            yield connection.execute(query, (run_id, *ENDED)).fetchone() is not None

    def runs_to_clean(self) -> list[str]:
        """Return the finished runs whose folders still need cleaning: they still have their token."""
        with self.connection() as connection:
            rows = connection.execute("SELECT id FROM runs WHERE state = 'finished' AND token IS NOT NULL").fetchall()
        return [row["id"] for row in rows]

    def mark_clean(self, run_id: str) -> None:
        """Record that a finished run's folder has been cleaned."""
        with self.writing() as connection:
            connection.execute("UPDATE runs SET token = NULL WHERE id = ? AND state = 'finished'", (run_id,))

    def delete_run(self, run_id: str) -> bool:
        """Delete an ended run's row, points and data, not its folder; False where it is queued or running."""
        with self.writing() as connection:
            query = f"SELECT number FROM runs WHERE id = ? AND state IN ({_marks(ENDED)})"
            row = connection.execute(query, (run_id, *ENDED)).fetchone()
            for table in ("metrics", "data_used"):
                if row is not None:
                    connection.execute(f"DELETE FROM {table} WHERE run_number = ?", (row["number"],))
            return connection.execute("DELETE FROM runs WHERE number = ?", (row and row["number"],)).rowcount == 1

    # what a worker writes --------------------------------------------------------------------

    def attach(self, run_id: str, token: str, pid: int, pid_started: float) -> bool:
        """Record which process trains a run; False where the run is not running with this token."""
        query = "UPDATE runs SET pid = ?, pid_started = ? WHERE id = ? AND token = ? AND state = 'running'"
        with self.writing() as connection:
            return connection.execute(query, (pid, pid_started, run_id, token)).rowcount == 1

    def rewind(self, run_id: str, token: str, step: int | None) -> bool:
        """Delete what was measured after `step` (everything for None) before it is measured again; False as above.

        Where something was deleted, `started` changes, which tells readers to read all points again.
        """
        running = "UPDATE runs SET step = ? WHERE id = ? AND token = ? AND state = 'running'"
        with self.writing() as connection:
            if connection.execute(running, (step or 0, run_id, token)).rowcount == 0:
                return False
            after = -1 if step is None else step
            gone = connection.execute(f"DELETE FROM metrics WHERE {_OF_RUN} AND step > ?", (run_id, after)).rowcount
            if gone:
                restarted = (
                    "UPDATE runs SET seconds_before = seconds_before + :now - started, started = :now WHERE id = :id"
                )
                connection.execute(restarted, {"now": time.time(), "id": run_id})
        return True

    def set_model(self, run_id: str, token: str, path: Path) -> bool:
        """Record where the last checkpoint of a running run is; False where the run is not this token's."""
        query = "UPDATE runs SET model_path = ? WHERE id = ? AND token = ? AND state = 'running'"
        with self.writing() as connection:
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

        Returns the run after the write, so that a worker sees a requested stop; None where it is not this token's any
        more, and nothing was written.
        """
        beat = (
            "UPDATE runs SET heartbeat = ?, step = MAX(step, ?), phase = COALESCE(?, phase),"
            " phase_detail = COALESCE(?, phase_detail) WHERE id = ? AND token = ? AND state = 'running'"
        )
        step = max((point[0] for point in points), default=0)
        entered = (None, None) if phase is None else (phase.name, phase.detail)
        with self.writing() as connection:
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
            return run_from_row(row)


def _move(
    connection: sqlite3.Connection,
    run_id: str,
    to: RunState,
    reason: str,
    start: RunState,
    token: str | None = None,
    model_path: str | None = None,
) -> bool:
    """Change a run's state if it is in the state `start` (and has this token); return whether it was.

    `model_path`: written, too, where it is not None. ValueError for a move that `lifecycle.EDGES` does not have. A
    lost run ended with its last heartbeat: it may have been found dead only days later.
    """
    if start not in states_before(to):
        raise ValueError(f"A run cannot become {to!r} from {start!r}; it may from {states_before(to)}.")
    ended = "COALESCE(heartbeat, ?)" if to == "lost" else "?"
    query = (
        f"UPDATE runs SET state = ?, reason = ?, ended = {ended}, model_path = COALESCE(?, model_path)"
        " WHERE id = ? AND state = ?"
    )
    path = None if model_path is None else _valid_text(model_path)
    values: list[object] = [to, _valid_text(reason), time.time(), path, run_id, start]
    if token is not None:
        query += " AND token = ?"
        values.append(token)
    return connection.execute(query, values).rowcount == 1


def _devices_taken(connection: sqlite3.Connection) -> set[str]:
    """Return the cards of running runs. A run with unreadable settings fails: no process could supervise it."""
    taken = set()
    for row in connection.execute("SELECT id, device, config FROM runs WHERE state = 'running'").fetchall():
        try:
            stored_config(row["config"])
            taken.add(card_of(row["device"]))
        except ConfigError as error:
            _move(connection, row["id"], "failed", SETTINGS_DAMAGED.format(error), "running")
    return taken


def _annotate(connection: sqlite3.Connection, run_id: str, columns: Mapping[str, str]) -> None:
    for column, value in columns.items():
        connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, run_id))


def _tags(tags: Sequence[str]) -> str:
    """Return tags as JSON; ConfigError for tags that are too long or invalid."""
    unique = dict.fromkeys(str(FIELDS["name"].check(tag.strip())) for tag in tags if tag.strip())
    return _short_enough("list of tags", json.dumps(list(unique), ensure_ascii=False), NOTE_LENGTH)


def _short_enough(what: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise ConfigError(f"The {what} has {len(text):,} characters; wanted at most {limit:,}. Shorten it.")
    return text


def _valid_text(text: str) -> str:
    """Return a text with its lone surrogates escaped: SQLite refuses them, and an error may quote any file's name."""
    return text.encode("utf-8", "backslashreplace").decode()


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
