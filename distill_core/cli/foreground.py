"""A run in the process of the command line: trained here, or followed where another process trains it."""

import secrets
import time
from collections.abc import Callable
from functools import partial

import psutil

from distill_core.devices import devices_for
from distill_core.runs.events import Event, Measured, Phase
from distill_core.runs.lifecycle import INTERRUPTED_BEFORE_START
from distill_core.runs.recorder import retry_while_busy
from distill_core.runs.run import Run
from distill_core.runs.scheduler import reconcile, stop
from distill_core.runs.store import Store
from distill_core.runs.worker_process import FOREGROUND, process_start
from distill_core.worker import execute_run

POLL_SECONDS = 0.5


def run_in_foreground(store: Store, run_id: str, on_event: Callable[[Event], None]) -> Run:
    """Train a queued run in this process and return it once it has ended; Ctrl-C stops it and keeps the student.

    It waits in the queue while its device is busy. If another process starts it first, it is followed there:
    `on_event` is then called with what the store shows.
    """
    token, run, process = f"{FOREGROUND}{secrets.token_hex(16)}", None, psutil.Process()
    try:
        while run is None and store.get(run_id).state == "queued":
            run = store.claim(devices_for, token, only=run_id)
            if run is None:
                reconcile(store)
                time.sleep(POLL_SECONDS)
            else:
                retry_while_busy(partial(store.attach, run_id, token, process.pid, process_start(process)))
    except KeyboardInterrupt:
        run = None
        store.end(run_id, token, "stopped", INTERRUPTED_BEFORE_START)  # where it was just claimed
        stop(store, run_id)
    if run is None:
        return _follow(store, run_id, on_event)
    execute_run(store, run, on_event)
    reconcile(store)
    return store.get(run_id)


def _follow(store: Store, run_id: str, on_event: Callable[[Event], None]) -> Run:
    """Call `on_event` with what another process writes about a run, until it has ended; Ctrl-C requests a stop."""
    cursor, phase = 0, Phase("")
    while True:
        try:
            run = store.get(run_id)
            if Phase(run.phase, run.phase_detail) != phase:
                phase = Phase(run.phase, run.phase_detail)
                on_event(phase)
            by_step: dict[int, dict[str, float]] = {}
            for point in store.metrics(run_id, after=cursor):
                by_step.setdefault(point.step, {})[point.name] = point.value
                cursor = point.cursor
            for step, values in by_step.items():
                on_event(Measured(step, values))
            if not run.active:
                return run
            reconcile(store)
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            stop(store, run_id)
