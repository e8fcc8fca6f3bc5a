"""The students of runs: their folders, their records and their titles."""

import logging
from pathlib import Path
from typing import Any

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.errors import DistillError, ModelError
from distill_core.paths import run_folder
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import BEST, LAST, RECORD
from distill_core.storage.model_folder import find_model_folder, read_json

_LOG = logging.getLogger(__name__)


def find_student(run_id: str, best: bool = False) -> Path | None:
    """Return the folder of a run's last or best student; None where there is none.

    A finished run whose last student is its best, or that keeps only its best, has one folder for both. A run that was
    killed before its last student could be saved as its best as well has an older folder `best`; then the last student
    is returned, because its record names it as the best.
    """
    last, other = (find_model_folder(str(run_folder(run_id) / checkpoint)) for checkpoint in (LAST, BEST))
    if not best or last is None:
        return other if best else last
    record = read_json(last / RECORD)
    return last if record.get("best") == record.get("step", 0) != 0 else other


def read_student_record(run_id: str, checkpoint: str = LAST) -> dict[str, Any]:
    """Return the record in a student's folder, also after its weights were deleted; empty where it has none.

    A damaged record is logged and counts as none: opening the student reports the damage, and the run's numbers do not
    depend on it.
    """
    try:
        return read_json(run_folder(run_id) / checkpoint / RECORD)
    except ModelError as error:
        _LOG.warning("%s", error)
        return {}


def read_student_step(run_id: str, checkpoint: str = LAST) -> int | None:
    """Return the step that a student is from; None where its record is gone, damaged or does not say so."""
    step = read_student_record(run_id, checkpoint).get("step")
    return step if type(step) is int else None


def student_titles(run_id: str | None = None) -> dict[str, str]:
    """Return the titles of the students of all runs, or of one, by run id; empty where the store cannot be read.

    The titles come from the store because a run may be renamed while its student is being written.
    """
    try:
        store = Store()
        runs = store.runs() if run_id is None else [store.get(run_id)]
    except DistillError as error:
        _LOG.info("the titles of students are their ids, because the store cannot be read: %s", error)
        return {}
    return {run.id: _student_title(run) for run in runs}


def _student_title(run: Run) -> str:
    suffix = run.id[-4:]  # two runs may have the same name
    return f"{run.name} ({suffix})" if run.name else f"{DISTILLATION_METHODS[run.config.method].title} run {suffix}"
