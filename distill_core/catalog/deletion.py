"""Names, notes, sizes and the end of runs, and of what they keep on disk."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_core.catalog.user_models import list_user_models
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.errors import DistillError, RunError
from distill_core.paths import run_folder
from distill_core.runs.lifecycle import ACTIVE
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import BEST, LAST, RECORD, delete_folder, set_checkpoints_aside


def rename_run(store: Store, run_id: str, name: str) -> Run:
    """Give a run another name, its students in the lists of models too, and return it; ConfigError for no name."""
    store.get(run_id)
    store.annotate(run_id, name=name)
    return store.get(run_id)


def student_titles(run_id: str | None = None) -> dict[str, str]:
    """Return what the students of all runs, or of one, are called, by run; none where the store cannot be read.

    Their folders do not say it: a run may get another name while its student is being written.
    """
    try:
        store = Store()
        runs = store.runs() if run_id is None else [store.get(run_id)]
    except DistillError as error:
        logging.getLogger(__name__).info("students are called by their ids: %s", error)
        return {}
    return {run.id: _student_title(run) for run in runs}


def _student_title(run: Run) -> str:
    mark = run.id[-4:]  # two runs may have one name
    return f"{run.name} ({mark})" if run.name else f"{DISTILLATION_METHODS[run.config.method].title} run {mark}"


def size(run_id: str) -> int:
    """Return the bytes of a run's folder, files that checkpoints share counted once, what goes meanwhile not at all.

    What a link points to is not in it: it is never deleted either.
    """
    return _size(run_folder(run_id).rglob("*"))


def freeable(run_id: str) -> int:
    """Return the bytes of a run's folder that `free` would delete: all checkpoints, and what is half-built of one."""
    folder = run_folder(run_id)
    students = {file for name in (LAST, BEST) for file in folder.glob(f"{name}*/**/*")} - {folder / LAST / RECORD}
    return size(run_id) - _size(file for file in folder.rglob("*") if file not in students)


def _size(files: Iterable[Path]) -> int:
    sizes: dict[tuple[int, int], int] = {}
    for file in files:
        try:
            found = file.lstat()
        except OSError:
            continue
        if not file.is_dir():
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def student_users(store: Store, run_id: str) -> list[str]:
    """Return what uses a run's student, by title: runs that learn from it or begin as it, models added from its folder.

    Runs that wait, work or are paused; one that has ended has no need of it any more.
    """
    folders = {str(run_folder(run_id).resolve() / kept) for kept in (LAST, BEST)}
    own = {f"run/{run_id}", f"run/{run_id}/{BEST}", *(str(run_folder(run_id) / kept) for kept in (LAST, BEST))}
    runs = [run.title for run in store.runs((*ACTIVE, "paused")) if own & {run.config.teacher, run.config.student_init}]
    return runs + [f"the model {entry.id}" for entry in list_user_models() if entry.path in own | folders]


def delete_run(store: Store, run_id: str) -> int:
    """Delete an ended run with its numbers, log and students, and return the bytes that are free again.

    RunError while it waits or works, or while something uses its student. What cannot be deleted of its folder
    (OSError) is told; the run is then gone from the list all the same.
    """
    _check_unused(store, run_id)
    freed = size(run_id)
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
    """Delete an ended run's students and what it would go on from, and return the bytes that are free again.

    Curves, settings, log and the record of what made its student stay; it can neither be explained nor go on. RunError
    as `delete` says, and where the disk does not let go of something.
    """
    _check_unused(store, run_id)
    freed = freeable(run_id)
    with store.lock_ended(run_id) as rests:
        if not rests:
            raise RunError(f"Run {run_id} has just been started again; stop it first.")
        with _deleting(run_id):
            aside = set_checkpoints_aside(run_folder(run_id))
    with _deleting(run_id):
        for rest in aside:  # takes long on a slow disk: no other run is to wait for it
            delete_folder(rest)
    return freed


@contextmanager
def _deleting(run_id: str) -> Iterator[None]:
    """Say, as a RunError, what the disk does not let go of."""
    try:
        yield
    except OSError as error:
        raise RunError(f"Not all of the student of run {run_id} could be deleted ({error}); try again.") from error


def _check_unused(store: Store, run_id: str) -> None:
    """Refuse, with RunError, a run that waits or works, or whose student something uses."""
    run = store.get(run_id)
    if run.active:
        raise RunError(f"Run {run_id} is {run.status}; stop it first.")
    if using := student_users(store, run_id):
        raise RunError(f"The student of run {run_id} is used by {', '.join(using)}; stop or remove that first.")
