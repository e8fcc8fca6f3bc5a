"""Waiting for a condition that another process or thread brings about."""

import time
from collections.abc import Callable

PROMISE = 10.0  # seconds within which a stop or a death has been dealt with


def until(condition: Callable[[], bool], seconds: float = PROMISE) -> bool:
    """Wait until a condition is met; say whether it was in time."""
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met
