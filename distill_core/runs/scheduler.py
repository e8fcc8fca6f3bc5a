"""The queue: add runs, start them on free devices, stop and resume them.

There is no manager process. Every process that reads the queue calls `reconcile`, which any number of processes may
call at once: the page on every tick, a worker when it ends, and the thread that waits for the exit of each started
worker. So the queue continues without a page, and a crash is noticed at once or at the next call.
"""

import contextlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from distill_core.config.run_config import RunConfig
from distill_core.data.datasets import pin_source
from distill_core.data.user_datasets import USER_SOURCE_PREFIX, remove_user_dataset
from distill_core.devices import devices_for
from distill_core.errors import DataError, RunError
from distill_core.paths import STATE_FILE
from distill_core.runs import worker_process
from distill_core.runs.lifecycle import ACTIVE, INTERRUPTED, StopKind
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.runs.worker_process import clean_run_folder, enforce_stop, start_worker, wake_worker

_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # without letters that look alike


def enqueue(store: Store, config: RunConfig) -> str:
    """Queue a run without further checks, its settings pinned, and return its id; every call makes one run.

    ConfigError for a device that this machine does not have.
    """
    devices_for(config.device)
    pinned_config = pinned(config)
    while True:
        letters = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{letters}"
        if store.add(run_id, pinned_config):
            return run_id


def pinned(config: RunConfig) -> RunConfig:
    """Return a run's settings in a form that every process reads alike, wherever and however it is started.

    Relative folders become absolute, and `auto` data becomes the source that it means now.
    """
    student = config.student_init if config.made_from_teacher else _absolute(config.student_init)
    return replace(
        config,
        teacher=_absolute(config.teacher),
        student_init=student,
        source=pin_source(config.task, config.source),
    )


def reconcile(store: Store, command: Sequence[str] | None = None) -> list[str]:
    """Bring store and processes into agreement: end dead runs, enforce stops, start the next run of each free device.

    `command` starts a worker when a run's id is appended. Returns the ids of the started runs.
    """
    for run in store.runs(("running",)):
        enforce_stop(store, run)
    for run_id in store.runs_to_clean():
        with contextlib.suppress(OSError):  # the files cannot be deleted: the run is complete, it only takes more space
            clean_run_folder(store, run_id)
    started: list[str] = []
    while store.has_runs(("queued",)):  # checked first because claiming shuts out all other writers
        run_or_none = store.claim(devices_for, secrets.token_hex(16))
        if run_or_none is None:
            break
        worker_command = tuple(command or worker_process.WORKER)
        start_worker(store, run_or_none, worker_command, partial(reconcile, store, worker_command))
        started.append(run_or_none.id)
    return started


def stop(store: Store, run_id: str, kind: StopKind = "stop") -> Run:
    """Request that a run stops, or pauses, and return it: ended if it was queued, else stopping.

    Does not wait. The worker saves a checkpoint and ends; `reconcile` ends one that does not. The run can be resumed
    later in either case. RunError for an unknown run; a run that has ended remains as it is.
    """
    wake_worker(store.get(run_id))
    if not store.cancel(run_id, kind):
        store.request_stop(run_id, kind)
    return store.get(run_id)


def can_resume(run: Run) -> bool:
    """Return whether an interrupted run can continue: from its last checkpoint, or from the start where it has none."""
    if run.state not in INTERRUPTED:
        return False
    return run.model_path is None or (run.model_path / STATE_FILE).is_file()


def resume(store: Store, run_id: str) -> Run:
    """Put an interrupted run back in the queue, to continue from its last checkpoint, and return it.

    RunError where it is not interrupted or its checkpoint cannot be continued.
    """
    if not store.requeue(run_id, can_resume):
        run = store.get(run_id)
        why = "its checkpoint has no training state" if run.state in INTERRUPTED else f"it is {run.status}"
        raise RunError(f"Run {run_id} cannot be resumed: {why}. Start a new run with the same settings.")
    return store.get(run_id)


def wait(store: Store, run_id: str, seconds: float, command: Sequence[str] | None = None) -> Run:
    """Reconcile until a run has ended or the time is over; return the run."""
    deadline = time.monotonic() + seconds
    while (run := store.get(run_id)).active and time.monotonic() < deadline:
        reconcile(store, command)
        time.sleep(0.2)
    return run


def remove_data(store: Store, data_id: str) -> None:
    """Delete a user data set; DataError where there is none, or while a queued or running run reads it.

    Runs that have ended keep their record of it, but cannot be started again.
    """
    source = USER_SOURCE_PREFIX + data_id.removeprefix(USER_SOURCE_PREFIX)
    readers = [run.title for run in store.runs(ACTIVE) if run.config.source == source]
    if readers:
        raise DataError(f"{source} is read by {', '.join(readers)}; stop the run first, or wait for its end.")
    remove_user_dataset(data_id)


def _absolute(model_id: str) -> str:
    """Return the absolute path where a model's id names an existing folder, else the id."""
    if model_id.startswith(("bundled/", "run/")):
        return model_id
    folder = Path(model_id).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model_id
