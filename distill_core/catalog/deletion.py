"""Renaming, deleting and freeing runs, and the models and runs that use a run's student."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from distill_core.catalog.user_models import list_user_models
from distill_core.errors import RunError
from distill_core.paths import run_folder
from distill_core.runs.disk_usage import freeable_size, run_size
from distill_core.runs.lifecycle import ACTIVE
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import BEST, LAST, delete_folder, set_checkpoints_aside


def rename_run(store: Store, run_id: str, name: str) -> Run:
    """Rename a run, and so its students in the lists of models, and return it; ConfigError for an empty name."""
    store.get(run_id)
    store.annotate(run_id, name=name)
    return store.get(run_id)


def student_users(store: Store, run_id: str) -> list[str]:
    """Return the titles of what uses a run's student: runs with it as teacher or start, user models in its folder.

    Only queued, running and paused runs count; a run that has ended does not need it any more.
    """
    folders = {str(run_folder(run_id).resolve() / checkpoint) for checkpoint in (LAST, BEST)}
    ids = {
        f"run/{run_id}",
        f"run/{run_id}/{BEST}",
        *(str(run_folder(run_id) / checkpoint) for checkpoint in (LAST, BEST)),
    }
    runs = [run.title for run in store.runs((*ACTIVE, "paused")) if ids & {run.config.teacher, run.config.student_init}]
    return runs + [f"the model {entry.id}" for entry in list_user_models() if entry.path in ids | folders]


def delete_run(store: Store, run_id: str) -> int:
    """Delete an ended run with its numbers, log and students, and return the bytes that are free again.

    RunError while it is queued or running, or while something uses its student. RunError, too, if a part of its folder
    cannot be deleted; the run is then gone from the list all the same.
    """
    _check_unused(store, run_id)
    freed = run_size(run_id)
    if not store.delete_run(run_id):
        raise RunError(f"Run {run_id} has just been started again; stop it first.")
    try:
        shutil.rmtree(run_folder(run_id), ignore_errors=False)
    except FileNotFoundError:
        return freed
    except OSError as error:
        raise RunError(
            f"Run {run_id} is deleted, but not all of its folder ({error}); delete the rest by hand."
        ) from error
    return freed


def free_run(store: Store, run_id: str) -> int:
    """Delete an ended run's students and its training state, and return the bytes that are free again.

    Curves, settings, log and the student's record stay; it can neither be explained nor resumed. RunError as in
    `delete_run`, and if something cannot be deleted.
    """
    _check_unused(store, run_id)
    freed = freeable_size(run_id)
    with store.lock_ended(run_id) as rests:
        if not rests:
            raise RunError(f"Run {run_id} has just been started again; stop it first.")
        with _deleting(run_id):
            aside = set_checkpoints_aside(run_folder(run_id))
    with _deleting(run_id):
        for rest in aside:  # takes long on a slow disk, and no other run should wait for it
            delete_folder(rest)
    return freed


@contextmanager
def _deleting(run_id: str) -> Iterator[None]:
    """Convert an OSError while deleting to a RunError."""
    try:
        yield
    except OSError as error:
        raise RunError(f"Not all of the student of run {run_id} could be deleted ({error}); try again.") from error


def _check_unused(store: Store, run_id: str) -> None:
    """Raise RunError for a run that is queued or running, or whose student is in use."""
    run = store.get(run_id)
    if run.active:
        raise RunError(f"Run {run_id} is {run.status}; stop it first.")
    if using := student_users(store, run_id):
        raise RunError(f"The student of run {run_id} is used by {', '.join(using)}; stop or remove that first.")
