"""The models a user added: one JSON file in the application's folder, written in one step and locked across processes.

Removing a model deletes its folder if that is a copy the application made (from the hub, or converted); a folder of the
user is never touched.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from glob import escape
from pathlib import Path

from filelock import FileLock

from distill_core.errors import ModelError
from distill_core.json_file import read_json_object
from distill_core.paths import home
from distill_core.runs.lifecycle import ACTIVE
from distill_core.runs.store import Store

ORIGINS = ("hub", "folder", "converted")


@dataclass(frozen=True)
class UserModel:
    """One model that a user added.

    `path`: its absolute folder. `origin`: one of ORIGINS. `repo`: hub id, or the folder that was converted.
    `revision`: the full commit on the hub.
    """

    id: str
    path: str
    task: str
    origin: str
    title: str = ""
    repo: str = ""
    revision: str = ""

    def __post_init__(self) -> None:
        if self.origin not in ORIGINS or not all(isinstance(value, str) for value in asdict(self).values()):
            raise ValueError(f"not the entry of a user model: {self}")


def list_user_models() -> list[UserModel]:
    """Return the user models, newest first; ModelError if the file is damaged."""
    path = _file()
    try:
        stored = read_json_object(path)
        return [UserModel(**entry) for entry in stored["models"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The list of user models {path} cannot be read ({error}); correct it, or delete it and add them again."
        ) from error


def add_user_model(entry: UserModel) -> None:
    """Add a model at the top of the list, in place of one with the same id.

    Raises ModelError if it is listed for another task, or if the file cannot be used.
    """
    with _writing() as entries:
        check_single_task(entry, entries)
        entries[:] = [entry, *(other for other in entries if other.id != entry.id)]


def check_single_task(entry: UserModel, entries: Sequence[UserModel] | None = None) -> None:
    """Raise ModelError for a model that is listed for another task, which it would lose."""
    for one in list_user_models() if entries is None else entries:
        if one.id == entry.id and one.task != entry.task:
            raise ModelError(
                f"Model {entry.id} is already added, for task {one.task}, and a model has one task only: to use it "
                f"for {entry.task}, remove it first and add it again."
            )


def remove_user_model(model_id: str) -> UserModel:
    """Remove a model from the list, delete its folder if that is the application's copy, and return its entry.

    Raises ModelError for an id that is not listed, naming those that are, and for a model that a queued or running run
    has as its teacher or as the start of its student.
    """
    with _writing() as entries:
        entry = next((one for one in entries if one.id == model_id), None)
        if entry is None:
            known = ", ".join(one.id for one in entries) or "none"
            raise ModelError(f"Model {model_id[:200]!r} was not added by you; choose one of those that were: {known}.")
        ids = {entry.id, entry.path}
        users = [run.title for run in Store().runs(ACTIVE) if ids & {run.config.teacher, run.config.student_init}]
        if users:
            raise ModelError(
                f"Model {entry.id} is used by {', '.join(users)}; stop the run first, or wait for its end."
            )
        entries.remove(entry)
        if is_app_copy(entry):
            place = Path(entry.path)
            if place.exists():  # after a kill, the rest of it must not look like a model
                place.rename(place.with_name(f"{place.name}.{secrets.token_hex(4)}.old"))
            for aside in place.parent.glob(f"{escape(place.name)}.*.old"):
                shutil.rmtree(aside)
    return entry


def is_app_copy(entry: UserModel) -> bool:
    """Return whether a model's folder is a copy in the application's folder, to be deleted with its entry."""
    return entry.origin != "folder" and home().resolve() / "models" in Path(entry.path).resolve().parents


@contextmanager
def _writing() -> Iterator[list[UserModel]]:
    """Yield the list for changes and write it back, under a lock that excludes other processes."""
    path = _file()
    try:
        with FileLock(path.with_suffix(".lock")):
            entries = list_user_models()
            yield entries
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"models": [asdict(entry) for entry in entries]}, indent=2), encoding="utf-8")
            part.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written ({error}); free some space, or set DISTILL_HOME.") from error


def _file() -> Path:
    return home() / "added.json"
