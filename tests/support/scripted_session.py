"""A run done in this process, whose session yields given events."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from distill_core import worker
from distill_core.cli.foreground import run_in_foreground
from distill_core.config.run_config import RunConfig
from distill_core.runs.events import Event
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store


class ScriptedSession:
    """A session that yields the planned events and raises those that are exceptions; saving may raise, too."""

    def __init__(self, events: Sequence[Event | BaseException], saving: Sequence[BaseException | None] = ()) -> None:
        self.planned, self.saving = events, list(saving)
        self.saves: list[int] = []
        self.begin = self.best = 0
        self.record: dict[str, Any] = {}
        self.closed = False

    def events(self) -> Iterator[Event]:
        try:
            for event in self.planned:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self.closed = True

    def save(self, path: Path, record: dict[str, Any]) -> None:
        error = self.saving.pop(0) if self.saving else None
        if error is not None:
            raise error
        self.saves.append(int(record["step"]))
        self.record = record
        path.mkdir(exist_ok=True)
        (path / "student.json").write_text(f'{{"step": {record["step"]}}}')


def done_run(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    session: ScriptedSession,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Run:
    """Return a run done in this process with a scripted session."""
    monkeypatch.setattr(worker, "_open_session", lambda *_: session)
    return run_in_foreground(store, enqueue(store, RunConfig(device="cpu")), on_event)
