"""One run as a row of the store, and the numbers it measured."""

import json
import logging
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.errors import ConfigError, StoreError
from distill_core.runs import lifecycle
from distill_core.runs.lifecycle import RunState, StopKind
from distill_core.shell_command import shell_command


@dataclass(frozen=True)
class Run:
    """One row of the store; times in seconds since the epoch, None for what has not happened.

    `device` is the concrete one, None while queued. `pid`, `pid_started` and `token` identify the worker process.
    `model_path` is the folder of the last checkpoint. `position` is the place in the queue. `stop_requested` is when a
    stop or a pause was requested, `stop_kind` which of them. `started` and `ended` belong to the latest attempt;
    `seconds_before` is the duration of the earlier ones. `renamed`, `note` and `tags` are what a user wrote.
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
    position: float
    stop_kind: StopKind | None
    seconds_before: float
    renamed: str | None
    note: str
    tags: tuple[str, ...]

    @property
    def active(self) -> bool:
        """Whether the run is queued or running."""
        return self.state in lifecycle.ACTIVE

    @property
    def status(self) -> str:
        """The state in a word; `stopping` or `pausing` between the request and the end."""
        if self.state != "running" or self.stop_requested is None:
            return self.state
        return "pausing" if self.stop_kind == "pause" else "stopping"

    @property
    def interrupted_as(self) -> RunState:
        """The state of the run once it has ended as requested: paused or stopped."""
        return lifecycle.stopped_state(self.stop_kind)

    def worked_seconds(self, now: float) -> float | None:
        """Return the seconds of training in all attempts; None where the run never started."""
        if self.started is None:
            return self.seconds_before or None
        return self.seconds_before + max(0.0, (self.ended or now) - self.started)  # the clock may have been set back

    @property
    def title(self) -> str:
        """The current name of the run, else its id."""
        return self.name or self.id

    @property
    def command(self) -> str:
        """The command line that repeats the run under its current name."""
        return replace(self.config, name=self.name).command

    @property
    def rerun_config(self) -> RunConfig:
        """The settings that repeat the run: its own, its name numbered "X (2)"; without a name where it has none."""
        return replace(self.config, name=_next_name(self.name))

    @property
    def local_command(self) -> str:
        """The command line with these settings, to be pasted into a shell of this machine."""
        return shell_command(*self.rerun_config.arguments)

    @property
    def name(self) -> str:
        """The current name of the run; empty where it has none."""
        return self.config.name if self.renamed is None else self.renamed


def _next_name(name: str) -> str:
    """Return "X (2)" for "X" and "X (3)" for "X (2)", no longer than a name may be."""
    if not name:
        return ""
    numbered = re.fullmatch(r"(.*) \((\d{1,6})\)", name)
    base, number = (numbered[1], int(numbered[2])) if numbered else (name, 1)
    ending = f" ({number + 1})"
    return base[: int(FIELDS["name"].maximum or 0) - len(ending)] + ending


@dataclass(frozen=True)
class MetricPoint:
    """One number of a run; `cursor` grows with every point written, `value` is nan where undefined."""

    cursor: int
    step: int
    name: str
    value: float


def readable_run(row: sqlite3.Row) -> Run | None:
    """Return a row as a run; None, which is logged, where it cannot be read: it must not hide the other runs."""
    try:
        return run_from_row(row)
    except StoreError as error:
        logging.getLogger(__name__).warning("left out of the list of runs: %s", error)
        return None


def run_from_row(row: sqlite3.Row) -> Run:
    """Return a row of the table `runs` as a run; StoreError where its settings cannot be read."""
    values = dict(row)
    try:
        values["config"] = stored_config(values["config"])
    except ConfigError as error:
        raise StoreError(
            f"Run {values['id']} in the store cannot be read: {error} If a newer version of this app wrote it, update "
            "the app; otherwise start a new run."
        ) from error
    path = cast(str | None, values["model_path"])
    values["model_path"] = None if path is None else Path(path)
    values["tags"] = _tags_of(values)
    values["stop_kind"] = values.pop("wish")  # the column kept the name it was created with
    return Run(**values)


@lru_cache(maxsize=4096)  # more than a store has runs: a smaller cache would miss each one when all are read in order
def stored_config(text: str) -> RunConfig:
    """Parse a run's settings; ConfigError where they are damaged.

    They never change once a run is queued, and pages, scheduler and worker read the same ones every second.
    """
    return RunConfig.from_json(text)


def _tags_of(row: Mapping[str, object]) -> tuple[str, ...]:
    """Return a row's tags; none, and a line in the log, where they are damaged."""
    try:
        tags = json.loads(str(row["tags"]))
        if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
            return tuple(tags)
    except (ValueError, RecursionError) as error:
        tags = error
    logging.getLogger(__name__).warning("the tags of run %s in the store are damaged: %.80r", row["id"], tags)
    return ()
