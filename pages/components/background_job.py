"""One long piece of work in a thread of the server: it goes on when the page is closed, and can be cancelled."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Generic, TypeVar, cast

from distill_core.errors import DistillError

JobEvent = TypeVar("JobEvent")


class Job(Generic[JobEvent]):
    """Work that yields events. `events`: those so far; `error`: what ended it early; `over`: whether it has ended."""

    def __init__(self, title: str, work: Callable[[], Iterator[JobEvent]]) -> None:
        self.title = title
        self.events: list[JobEvent] = []
        self.error: DistillError | None = None
        self._work, self._cancelled = work, threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job-{title[:40]}", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return not self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask it to end: its work is closed at the next event."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; say whether it came in time."""
        self._thread.join(seconds)
        return self.over

    def _run(self) -> None:
        try:
            with closing(cast(Generator[JobEvent, None, None], self._work())) as events:  # what is cancelled must close
                for event in events:
                    self.events.append(event)
                    if self.cancelled:
                        return
        except DistillError as error:
            self.error = error
        except BaseException as error:  # a thread's would be seen by nobody; a panic of Rust is no Exception
            logging.getLogger(__name__).exception("%s failed", self.title)
            self.error = DistillError(f"{self.title} failed unexpectedly ({type(error).__name__}: {error}).")
