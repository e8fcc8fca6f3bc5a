"""Which models there are: the bundled ones and the students of finished runs; found without loading any."""

import json
import logging
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distill_core.config import RunConfig
from distill_core.errors import ModelError
from distill_core.paths import ASSETS, home

BUNDLE = ASSETS / "models"
UNPACKED = "models"  # folder in home() that holds unpacked bundled models


@dataclass(frozen=True)
class ModelInfo:
    """One model that can be picked. `path`: its plain Hugging Face folder (bundled: once unpacked)."""

    id: str
    title: str
    task: str
    path: Path
    kind: str  # bundled, run or folder
    layers: int
    hidden_size: int
    parameters: int
    description: str


@dataclass(frozen=True)
class BundledModel:
    """One entry of the bundle's manifest. `parent` is what its stored change is added to: `base` or a sibling."""

    name: str
    title: str
    description: str
    task: str
    parent: str
    layers: int
    hidden_size: int
    parameters: int
    file: str
    sha256: str


@cache
def bundled_models() -> dict[str, BundledModel]:
    """Return the bundle's manifest by model name; ModelError if it is missing or damaged."""
    path = BUNDLE / "manifest.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["models"]
        return {entry["name"]: BundledModel(**entry) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The bundle's manifest {path} cannot be read ({error}); reinstall the app.") from error


def list_models() -> list[ModelInfo]:
    """Return all bundled models, then the students of runs, newest run first; damaged ones are left out, and logged."""
    bundled = [_bundled_info(entry) for entry in bundled_models().values()]
    found = []
    for file in sorted((home() / "runs").glob("*/student/config.json"), reverse=True):
        try:
            found.append(_folder_info(f"run/{file.parent.parent.name}", file.parent, "run"))
        except ModelError as error:  # one damaged student must not take the others from sight
            logging.getLogger(__name__).warning("left out of the list: %s", error)
    return bundled + found


def find_model(model_id: str) -> ModelInfo:
    """Return one model by id: `bundled/NAME`, `run/RUN` or a folder; ModelError naming the valid ids."""
    kind, _, name = model_id.partition("/")
    if kind == "bundled" and name in bundled_models():
        return _bundled_info(bundled_models()[name])
    if kind == "run" and name not in ("", ".", "..") and Path(name).name == name:
        folder = home() / "runs" / name / "student"
        if not folder.exists():  # a checkpoint is replaced by two renames: look again
            time.sleep(0.05)
        if (folder / "config.json").is_file():
            return _folder_info(model_id, folder, "run")
    elif kind != "bundled" and model_id:
        named = _existing_folder(model_id)
        if named is not None:
            return _folder_info(model_id, named, "folder")
    known = ", ".join(model.id for model in list_models())
    raise ModelError(f"Unknown model {model_id[:200]!r}; choose one of: {known}, or the path of a Hugging Face folder.")


def find_teacher(config: RunConfig) -> ModelInfo:
    """Return a run's teacher; ModelError where it is unknown or has fewer layers than the student is to take over."""
    teacher = find_model(config.teacher)
    if config.student_layers > teacher.layers > 0:  # 0: its config does not say
        raise ModelError(
            f"Student layers (student_layers) is {config.student_layers}; "
            f"the teacher {teacher.id} has {teacher.layers} layers: wanted 1 to {teacher.layers}."
        )
    return teacher


def _existing_folder(text: str) -> Path | None:
    """Return the folder a text names, None where it names none that holds a model and can be looked into."""
    try:
        folder = Path(text).expanduser()
        return folder if (folder / "config.json").is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, no rights, an unknown ~user, a NUL
        return None


def _bundled_info(entry: BundledModel) -> ModelInfo:
    return ModelInfo(
        id=f"bundled/{entry.name}",
        title=entry.title,
        task=entry.task,
        path=home() / UNPACKED / f"{entry.name}-{entry.sha256[:12]}",
        kind="bundled",
        layers=entry.layers,
        hidden_size=entry.hidden_size,
        parameters=entry.parameters,
        description=entry.description,
    )


def _folder_info(model_id: str, folder: Path, kind: str) -> ModelInfo:
    config, record = _read_json(folder / "config.json"), _read_json(folder / "distill.json")
    return ModelInfo(
        id=model_id,
        title=str(record.get("title") or model_id),
        task=str(record.get("task", "")),
        path=folder,
        kind=kind,
        layers=_count(config, "num_hidden_layers", folder) or _count(config, "n_layers", folder),  # DistilBERT's name
        hidden_size=_count(config, "hidden_size", folder) or _count(config, "dim", folder),
        parameters=_count(record, "parameters", folder),
        description=str(record.get("description", "")),
    )


def _count(values: dict[str, Any], name: str, folder: Path) -> int:
    """Return a whole number of a config or record, 0 where it is not given; ModelError where it is none."""
    value = values.get(name, 0)
    if not isinstance(value, int):
        raise ModelError(f"{folder} is damaged ({name} is {value!r}).")
    return value


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is missing; ModelError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged (not a JSON object).")
    return content
