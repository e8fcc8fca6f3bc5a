"""Writes a run's events to the store in batches."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from distill_core.runs.database import BusyError
from distill_core.runs.events import DataUsed, Event, Measured, Phase
from distill_core.runs.run import Run
from distill_core.runs.store import Store

FLUSH_SECONDS = 0.5  # how long measured points are collected before they are written
PATIENCE_SECONDS = 600.0  # how long a run waits for a store that others keep busy


Written = TypeVar("Written")


def retry_while_busy(write: Callable[[], Written]) -> Written:
    """Retry a write that a run cannot continue without; BusyError only after PATIENCE_SECONDS of trying."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except BusyError:
            if time.monotonic() >= deadline:
                raise


class Recorder:
    """Collects a worker's points and writes them in batches, each with a heartbeat; threads may share it.

    Points are written every FLUSH_SECONDS while events come, any other event at once. What could not be written is
    written the next time: a busy store does not end the training.
    """

    def __init__(self, store: Store, run_id: str, token: str) -> None:
        """Write for the run that was started with this token."""
        self._store, self._run_id, self._token = store, run_id, token
        self._lock = threading.Lock()
        self._points: list[tuple[int, str, float]] = []
        self._phase: Phase | None = None
        self._data: list[DataUsed] = []
        self._flushed = 0.0

    def record(self, event: Event) -> None:
        """Record one event; StoreError where the collected events cannot be written, unless the store is only busy."""
        with self._lock:
            if isinstance(event, Measured):
                self._points.extend((event.step, name, float(value)) for name, value in event.values.items())
            elif isinstance(event, Phase):
                self._phase = event
            elif isinstance(event, DataUsed):
                self._data.append(event)
            due = not isinstance(event, Measured) or time.monotonic() - self._flushed >= FLUSH_SECONDS
        if due:
            with suppress(BusyError):  # the next flush writes them
                self.flush()

    def flush(self) -> Run | None:
        """Write the collected events and a heartbeat; return the run, None where it is no longer this worker's."""
        with self._lock:
            run = self._store.write(self._run_id, self._token, self._points, self._phase, self._data)
            self._points, self._phase, self._data = [], None, []
            self._flushed = time.monotonic()
            return run
