"""A long job in a server thread: it continues when the page is closed, and can be cancelled."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Generic, TypeVar, cast

from distill_core.errors import DistillError

JobEvent = TypeVar("JobEvent")


class Job(Generic[JobEvent]):
    """A job that yields events. `events`: those so far; `error`: why it failed; `over`: whether it has ended."""

    def __init__(self, title: str, work: Callable[[], Iterator[JobEvent]]) -> None:
        self.title = title
        self.events: list[JobEvent] = []
        self.error: DistillError | None = None
        self._work, self._cancelled = work, threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job-{title[:40]}", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return not self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether cancellation was requested."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Request cancellation: the generator is closed at its next event."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the job ends; return whether it ended in time."""
        self._thread.join(seconds)
        return self.over

    def _run(self) -> None:
        try:
            with closing(cast(Generator[JobEvent, None, None], self._work())) as events:  # so that it cleans up
                for event in events:
                    self.events.append(event)
                    if self.cancelled:
                        return
        except DistillError as error:
            self.error = error
        except BaseException as error:  # an exception in a thread is otherwise lost; a Rust panic is not an Exception
            logging.getLogger(__name__).exception("%s failed", self.title)
            self.error = DistillError(f"{self.title} failed unexpectedly ({type(error).__name__}: {error}).")
