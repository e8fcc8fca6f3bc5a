"""The catalog of models, bundled, students of runs and user models: found and described without loading any."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from distill_core.catalog.user_models import UserModel, list_user_models
from distill_core.data.tasks import get_task
from distill_core.errors import ModelError
from distill_core.paths import ASSETS, home
from distill_core.runs.students import find_student, student_titles
from distill_core.storage.checkpoints import BEST, RECORD
from distill_core.storage.encoder_families import EncoderFamily, family_settings
from distill_core.storage.model_folder import (
    class_names,
    count_parameters,
    find_model_folder,
    read_json,
    whole_number,
)

BUNDLE = ASSETS / "models"
UNPACKED = "models"  # folder in home() for unpacked bundled models and downloaded ones
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """One model of the catalog. `path`: its plain Hugging Face folder (of a bundled model: once unpacked).

    `kind`: bundled, run, hub, folder or converted. `task`: empty if unknown. `layers`, `hidden_size`,
    `parameters`: 0 if the folder does not say. `architecture`: its config's model_type. `labels`: in the order
    of the outputs. `repo`: hub id, or the folder that was converted. `revision`: the full commit on the hub.
    """

    id: str
    title: str
    task: str
    path: Path
    kind: str
    layers: int
    hidden_size: int
    parameters: int
    description: str
    architecture: str = ""
    labels: tuple[str, ...] = ()
    repo: str = ""
    revision: str = ""

    @property
    def origin(self) -> str:
        """The origin of the model, as a phrase."""
        phrases = {
            "bundled": "bundled with the app",
            "run": "distilled in a run",
            "hub": f"Hugging Face hub, {self.repo} at {self.revision[:8]}",
            "folder": "your folder",
            "converted": f"converted from {self.repo}",
        }
        return phrases[self.kind]

    @property
    def size(self) -> int:
        """Bytes of its folder, or of its file in the bundle for a bundled model that is not unpacked yet."""
        packed = BUNDLE / f"{self.id.removeprefix('bundled/')}.safetensors"
        try:
            if self.kind == "bundled" and not self.path.exists():
                return packed.stat().st_size
            return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())
        except OSError:  # being replaced at this moment
            return 0


@dataclass(frozen=True)
class BundledModel:
    """One entry of the bundle's manifest. `parent`: what its stored change is added to, `base` or a model."""

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
    """Return all bundled models, the students of runs (newest run first) and the user models (newest first).

    A damaged or missing one is skipped and logged, so that it does not hide the others.
    """
    models = [_bundled_info(entry) for entry in bundled_models().values()]
    students = sorted((home() / "runs").glob("*/student/config.json"), reverse=True)
    titles = student_titles() if students else {}
    for file in students:
        run = file.parent.parent
        title = titles.get(run.name, "")
        try:
            models.append(_student_info(f"run/{run.name}", file.parent, title))
            if (run / BEST / "config.json").exists():
                best = find_student(run.name, best=True) or run / BEST
                models.append(_student_info(f"run/{run.name}/{BEST}", best, title))
        except ModelError as error:
            _LOG.warning("skipped in the list: %s", error)
    for entry in _user_models():
        try:
            models.append(_user_model_info(entry))
        except ModelError as error:
            _LOG.warning("skipped in the list: %s", error)
    return models


def filter_models(
    models: Sequence[ModelInfo], text: str = "", task: str | None = None, kind: str | None = None
) -> list[ModelInfo]:
    """Return the models of a task and a kind (None: any) with `text` in their id, title or description."""
    return [
        model
        for model in models
        if task in (None, model.task)
        and kind in (None, model.kind)
        and text.casefold() in f"{model.id} {model.title} {model.description}".casefold()
    ]


def find_model(model_id: str) -> ModelInfo:
    """Return one model by id: `bundled/NAME`, `run/RUN`, `run/RUN/best`, a user model's id, or a folder.

    Raises ModelError naming the valid ids.
    """
    kind, _, name = model_id.partition("/")
    if kind == "bundled" and name in bundled_models():
        return _bundled_info(bundled_models()[name])
    if kind == "run":
        run, best = name.removesuffix(f"/{BEST}"), name.endswith(f"/{BEST}")
        safe = run not in ("", ".", "..") and Path(run).name == run
        folder = find_student(run, best) if safe else None
        if safe and folder is None:  # a checkpoint is replaced by two renames: try once more
            time.sleep(0.05)
            folder = find_student(run, best)
        if folder is not None:
            return _student_info(model_id, folder, student_titles(run).get(run, ""))
    elif kind != "bundled" and model_id:
        folder = find_model_folder(model_id)
        ids = {model_id} if folder is None else {model_id, str(folder.absolute()), str(folder.resolve())}
        entry = next((one for one in _user_models() if one.id in ids), None)
        if entry is not None:
            return _user_model_info(entry)
        if folder is not None:
            return folder_info(model_id, folder, "folder")
    raise ModelError(_unknown_message(model_id))


def _unknown_message(model_id: str) -> str:
    """Return the message for an unknown model, with advice by its form: a folder, a model of the hub, or neither."""
    problem = f"Unknown model {model_id[:200]!r}"
    if model_id.startswith(("/", ".", "~")):
        return f"{problem}: that folder does not exist or has no config.json; choose one with a model."
    if model_id.count("/") == 1 and not model_id.startswith(("bundled/", "run/", "own/")):
        return f"{problem}: neither a folder nor a model you added; add it on the Models page or with `models add`."
    known = ", ".join(model.id for model in list_models())
    return f"{problem}; choose one of: {known}, or the path of a Hugging Face folder."


def _user_models() -> list[UserModel]:
    """Return the user models; none, with a warning in the log, if their list is damaged."""
    try:
        return list_user_models()
    except ModelError as error:
        _LOG.warning("%s", error)
        return []


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
        architecture="bert",
        labels=get_task(entry.task).labels,
    )


def _student_info(model_id: str, folder: Path, title: str) -> ModelInfo:
    """Describe a run's student, the best one if its id says so; `title`: the store's, empty if it has none."""
    info = folder_info(model_id, folder, "run")
    title = title or info.title
    if model_id.endswith(f"/{BEST}"):
        title += f", best at step {read_json(folder / RECORD).get('step', '?')}"
    return replace(info, title=title)


def _user_model_info(entry: UserModel) -> ModelInfo:
    if find_model_folder(entry.path) is None:
        raise ModelError(
            f"Model {entry.id}: its folder {entry.path} does not exist any more; add the model again, or remove it."
        )
    return folder_info(entry.id, Path(entry.path), entry.origin, entry)


def folder_info(model_id: str, folder: Path, kind: str, entry: UserModel | None = None) -> ModelInfo:
    """Describe the model in a folder by its config, record and header of weights; `entry` has priority over the record.

    Raises ModelError naming the file that is damaged.
    """
    config, record = read_json(folder / "config.json"), read_json(folder / RECORD)
    family = family_settings(config)  # transformers reads the usual names, too
    title, task = (entry.title, entry.task) if entry else ("", "")
    return ModelInfo(
        id=model_id,
        title=title or str(record.get("title") or model_id),
        task=task or str(record.get("task", "")),
        path=folder,
        kind=kind,
        layers=whole_number(config, family.depth, folder) or whole_number(config, EncoderFamily.depth, folder),
        hidden_size=whole_number(config, family.width, folder) or whole_number(config, EncoderFamily.width, folder),
        parameters=whole_number(record, "parameters", folder) or count_parameters(folder / "model.safetensors"),
        description=str(record.get("description", "")),
        architecture=str(config.get("model_type", "")),
        labels=class_names(config, folder / "config.json"),
        repo=entry.repo if entry else "",
        revision=entry.revision if entry else "",
    )
