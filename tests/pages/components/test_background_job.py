"""A job goes on by itself, tells how it ended, and closes its work when it is cancelled."""

import threading
from collections.abc import Generator

import pytest

from distill_core.errors import ModelError
from pages.components.background_job import Job


def test_events_come_and_the_end_is_told() -> None:
    def work() -> Generator[int, None, None]:
        yield from range(3)

    job = Job("Counting", work)
    assert job.wait(10)
    assert (job.events, job.error, job.cancelled) == ([0, 1, 2], None, False)


class Panic(BaseException):
    """As a library in Rust has them."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ModelError("no weights"), "no weights"),
        (KeyError("x"), "KeyError"),
        (Panic("at mod.rs:1"), "Panic: at mod.rs:1"),
    ],
)
def test_an_error_is_kept_in_words(raised: BaseException, told: str) -> None:
    def work() -> Generator[int, None, None]:
        yield 1
        raise raised

    job = Job("Adding", work)
    assert job.wait(10)
    assert job.events == [1]
    assert told in str(job.error)


def test_cancelled_work_is_closed() -> None:
    closed, begun = threading.Event(), threading.Event()

    def work() -> Generator[int, None, None]:
        try:
            while True:
                begun.set()
                yield 1
        finally:
            closed.set()

    job = Job("Waiting", work)
    assert begun.wait(10)
    assert not job.over
    job.cancel()
    assert job.wait(10)
    assert closed.is_set()
    assert job.error is None
