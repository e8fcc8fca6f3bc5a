"""Which models there are: the bundled ones and the students of finished runs; found without loading any."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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
    """One entry of the bundle's manifest. `parent` is what its low-rank update is added to: `base` or a sibling."""

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
    """Return all bundled models, then the students of runs, newest run first."""
    bundled = [_bundled_info(entry) for entry in bundled_models().values()]
    folders = sorted((home() / "runs").glob("*/student/config.json"), reverse=True)
    return bundled + [_folder_info(f"run/{file.parent.parent.name}", file.parent, "run") for file in folders]


def find_model(model_id: str) -> ModelInfo:
    """Return one model by id: `bundled/NAME`, `run/RUN` or a folder; ModelError naming the valid ids."""
    kind, _, name = model_id.partition("/")
    if kind == "bundled" and name in bundled_models():
        return _bundled_info(bundled_models()[name])
    if kind == "run" and name and Path(name).name == name:
        folder = home() / "runs" / name / "student"
        if (folder / "config.json").is_file():
            return _folder_info(model_id, folder, "run")
    elif kind != "bundled" and model_id:
        folder = Path(model_id).expanduser()
        if (folder / "config.json").is_file():
            return _folder_info(model_id, folder, "folder")
    known = ", ".join(model.id for model in list_models())
    raise ModelError(f"Unknown model {model_id!r}; choose one of: {known}, or the path of a Hugging Face folder.")


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
        layers=int(config.get("num_hidden_layers", 0)),
        hidden_size=int(config.get("hidden_size", 0)),
        parameters=int(record.get("parameters", 0)),
        description=str(record.get("description", "")),
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is missing; ModelError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error}).") from error
    return content if isinstance(content, dict) else {}
