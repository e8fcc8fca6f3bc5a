"""Which models there are: bundled, students of runs, added by the user; found and described without loading any."""

import json
import logging
import math
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from distill_core.catalog.deletion import student_titles
from distill_core.catalog.user_models import Added, list_added
from distill_core.config.layer_mapping import layer_pairs
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.data.tasks import get_task
from distill_core.errors import ConfigError, ModelError
from distill_core.paths import ASSETS, home, run_folder
from distill_core.storage.checkpoints import BEST, LAST, RECORD

BUNDLE = ASSETS / "models"
UNPACKED = "models"  # folder in home() that holds unpacked bundled models
MOST_CLASSES = 1000  # of a model that is looked at
_MOST_HEADER = 25_000_000  # bytes; the hub's own limit
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """One model that can be picked. `path`: its plain Hugging Face folder (bundled: once unpacked).

    `kind`: bundled, run, hub, folder or converted. `task`: empty where none is known. `layers`, `hidden_size`,
    `parameters`: 0 where the folder does not say. `architecture`: its config's model_type. `labels`: in the order
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
        """Where the model is from, in words."""
        names = {
            "bundled": "bundled with the app",
            "run": "distilled in a run",
            "hub": f"Hugging Face hub, {self.repo} at {self.revision[:8]}",
            "folder": "a folder of yours",
            "converted": f"converted from {self.repo}",
        }
        return names[self.kind]

    @property
    def size(self) -> int:
        """Bytes its folder takes on disk, or, of a bundled model not unpacked yet, what it adds to the bundle."""
        packed = BUNDLE / f"{self.id.removeprefix('bundled/')}.safetensors"
        try:
            if self.kind == "bundled" and not self.path.exists():
                return packed.stat().st_size
            return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())
        except OSError:  # just being replaced
            return 0


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
    """Return all bundled models, the students of runs, newest run first, and the models added, newest first.

    One that is damaged or gone is left out, and logged: it must not take the others from sight.
    """
    found = [_bundled_info(entry) for entry in bundled_models().values()]
    students = sorted((home() / "runs").glob("*/student/config.json"), reverse=True)
    titles = student_titles() if students else {}
    for file in students:
        run = file.parent.parent
        title = titles.get(run.name, "")
        try:
            found.append(_student_info(f"run/{run.name}", file.parent, title))
            if (run / BEST / "config.json").exists():
                best = student_of(run.name, best=True) or run / BEST
                found.append(_student_info(f"run/{run.name}/{BEST}", best, title))
        except ModelError as error:
            _LOG.warning("left out of the list: %s", error)
    for entry in _added():
        try:
            found.append(_added_info(entry))
        except ModelError as error:
            _LOG.warning("left out of the list: %s", error)
    return found


def find_model(model_id: str) -> ModelInfo:
    """Return one model by id: `bundled/NAME`, `run/RUN`, `run/RUN/best`, one that was added, or any folder.

    Raises ModelError naming the valid ids.
    """
    kind, _, name = model_id.partition("/")
    if kind == "bundled" and name in bundled_models():
        return _bundled_info(bundled_models()[name])
    if kind == "run":
        run, best = name.removesuffix(f"/{BEST}"), name.endswith(f"/{BEST}")
        safe = run not in ("", ".", "..") and Path(run).name == run
        folder = student_of(run, best) if safe else None
        if safe and folder is None:  # a checkpoint is replaced by two renames: look again
            time.sleep(0.05)
            folder = student_of(run, best)
        if folder is not None:
            return _student_info(model_id, folder, student_titles(run).get(run, ""))
    elif kind != "bundled" and model_id:
        named = existing_folder(model_id)
        own_names = {model_id} if named is None else {model_id, str(named.absolute()), str(named.resolve())}
        entry = next((one for one in _added() if one.id in own_names), None)
        if entry is not None:
            return _added_info(entry)
        if named is not None:
            return folder_info(model_id, named, "folder")
    raise ModelError(_unknown(model_id))


def student_of(run_id: str, best: bool = False) -> Path | None:
    """Return the folder of a run's last or best student, None where there is none.

    A finished run whose last is its best, or that keeps only its best, has one folder, which is then both. A run killed
    before its last could be kept as its best has an older best beside it: its last goes by.
    """
    last, other = (existing_folder(str(run_folder(run_id) / kept)) for kept in (LAST, BEST))
    if not best or last is None:
        return other if best else last
    record = read_json(last / RECORD)
    return last if record.get("best") == record.get("step", 0) != 0 else other


def student_record(run_id: str, kept: str = LAST) -> dict[str, Any]:
    """Return what a run's student says of itself, also once it is freed; empty where there is none, or it is damaged.

    Damage is said where the student is opened; it says nothing against the run's numbers.
    """
    try:
        return read_json(run_folder(run_id) / kept / RECORD)
    except ModelError as error:
        _LOG.warning("%s", error)
        return {}


def _unknown(model_id: str) -> str:
    """Say that there is no such model, and what to do: it looks like a folder, a model of the hub, or neither."""
    said = f"Unknown model {model_id[:200]!r}"
    if model_id.startswith(("/", ".", "~")):
        return f"{said}: there is no folder of that name with a config.json."
    if model_id.count("/") == 1 and not model_id.startswith(("bundled/", "run/", "own/")):
        return f"{said}: neither a folder nor a model that was added; add it first (models add {model_id[:200]})."
    known = ", ".join(model.id for model in list_models())
    return f"{said}; choose one of: {known}, or the path of a Hugging Face folder."


def _added() -> list[Added]:
    """Return the models added; none, and a warning in the log, where the list of them is damaged."""
    try:
        return list_added()
    except ModelError as error:
        _LOG.warning("%s", error)
        return []


def find_teacher(config: RunConfig) -> ModelInfo:
    """Return a run's teacher, once it is known that the run's models and settings go together.

    ModelError where the teacher, or a model its student begins as, is unknown or does not fit; ConfigError for a
    setting that this teacher, or another setting, does not allow.
    """
    teacher = find_model(config.teacher)
    if not config.made_from_teacher:
        _check_student(find_model(config.student_init), teacher, config)
    elif config.student_layers > teacher.layers > 0:  # 0: its config does not say
        raise ModelError(
            f"Layers (student_layers) is {config.student_layers}; "
            f"the teacher {teacher.id} has {teacher.layers} layers: wanted 1 to {teacher.layers}."
        )
    _check_ranges(teacher, config)
    if "matching" in DISTILLATION_METHODS[config.method].settings:
        layers = config.student_layers if config.made_from_teacher else find_model(config.student_init).layers
        if layers and teacher.layers:  # 0: a config does not say
            layer_pairs(layers, teacher.layers, config.matching)
    return teacher


def _check_ranges(teacher: ModelInfo, config: RunConfig) -> None:
    """Refuse settings that are out of a range which other settings decide."""
    read = DISTILLATION_METHODS[config.method].settings
    if "top_k" in read and (config.top_k or 0) > teacher.hidden_size > 0:
        raise ConfigError(
            f"{FIELDS['top_k'].label} (top_k) is {config.top_k}; the teacher {teacher.id} is {teacher.hidden_size} "
            f"wide: wanted 1 to {teacher.hidden_size}, or nothing for all."
        )
    if "erasures_each_step" in read and config.erasures_each_step > config.erasures:
        raise ConfigError(
            f"{FIELDS['erasures_each_step'].label} (erasures_each_step) is {config.erasures_each_step}; "
            f"there are {config.erasures} (erasures): wanted 1 to {config.erasures}."
        )


def _check_student(student: ModelInfo, teacher: ModelInfo, config: RunConfig) -> None:
    """Refuse a student that cannot learn this task, or not by this method; what only its weights tell comes later."""
    if student.task not in ("", config.task):
        raise ModelError(f"The student {student.id} was trained for task {student.task}, not for {config.task}.")
    method = DISTILLATION_METHODS[config.method]
    if method.same_width and 0 < student.hidden_size != teacher.hidden_size > 0:
        free = ", ".join(info.title for info in DISTILLATION_METHODS.values() if not info.same_width)
        raise ModelError(
            f"{method.title} compares vectors of the two models, and the student {student.id} is {student.hidden_size} "
            f"wide, its teacher {teacher.hidden_size}: choose a student of one width with it, or one of: {free}."
        )


def existing_folder(text: str) -> Path | None:
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
        architecture="bert",
        labels=get_task(entry.task).labels,
    )


def _student_info(model_id: str, folder: Path, title: str) -> ModelInfo:
    """Describe a run's student, the best one by its id; `title`: as the store has it, empty where it has none."""
    info = folder_info(model_id, folder, "run")
    title = title or info.title
    if model_id.endswith(f"/{BEST}"):
        title += f", best at step {read_json(folder / RECORD).get('step', '?')}"
    return replace(info, title=title)


def _added_info(entry: Added) -> ModelInfo:
    if existing_folder(entry.path) is None:
        raise ModelError(f"Model {entry.id}: its folder {entry.path} is gone; add the model again, or remove it.")
    return folder_info(entry.id, Path(entry.path), entry.origin, entry)


def folder_info(model_id: str, folder: Path, kind: str, entry: Added | None = None) -> ModelInfo:
    """Describe the model in a folder by its config, record and header of weights; `entry` goes before the record.

    Raises ModelError naming the file that is damaged.
    """
    config, record = read_json(folder / "config.json"), read_json(folder / RECORD)
    title, task = (entry.title, entry.task) if entry else ("", "")
    return ModelInfo(
        id=model_id,
        title=title or str(record.get("title") or model_id),
        task=task or str(record.get("task", "")),
        path=folder,
        kind=kind,
        layers=_count(config, "num_hidden_layers", folder) or _count(config, "n_layers", folder),  # DistilBERT's name
        hidden_size=_count(config, "hidden_size", folder) or _count(config, "dim", folder),
        parameters=_count(record, "parameters", folder) or _count_parameters(folder / "model.safetensors"),
        description=str(record.get("description", "")),
        architecture=str(config.get("model_type", "")),
        labels=class_names(config, folder / "config.json"),
        repo=entry.repo if entry else "",
        revision=entry.revision if entry else "",
    )


def class_names(config: dict[str, Any], file: Path) -> tuple[str, ...]:
    """Return the classes' names in the order of the outputs, as transformers reads them from a config, or ModelError.

    `file`: where the config is from, for the message.
    """
    names = config.get("id2label")
    count = (_count(config, "num_labels", file) or 2) if not isinstance(names, dict) else len(names)
    if count > MOST_CLASSES:
        raise ModelError(f"{file} describes {count:,} classes; wanted at most {MOST_CLASSES:,}.")
    if names is None:
        return tuple(f"LABEL_{index}" for index in range(count))
    try:
        return tuple(str(names[index]) for index in sorted(names, key=int))
    except (TypeError, ValueError, LookupError) as error:
        raise ModelError(f"{file} is damaged (id2label is {names!r:.80}).") from error


def weight_shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return each tensor's type and shape by name from a safetensors file's header; empty where there is no file.

    The format begins with the header's length, 8 bytes little-endian, and the header in JSON. ModelError where it
    is damaged.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(_MOST_HEADER, path.stat().st_size):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        found = {
            name: (str(one["dtype"]), tuple(map(_size, one["shape"])))
            for name, one in header.items()
            if name != "__metadata__"
        }
        numbers = sum(math.prod(shape) for _, shape in found.values())
        if numbers > path.stat().st_size:
            raise ValueError("its header names more numbers than the file has bytes")
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged or cannot be read ({error}).") from error


def _size(value: object) -> int:
    """Return a tensor's extent; ValueError where it is none."""
    if type(value) is not int or value < 0:
        raise ValueError(f"an extent of {value!r:.40}")
    return value


def _count_parameters(path: Path) -> int:
    """Return how many weights a safetensors file holds; whole numbers are buffers (positions), not weights."""
    return sum(math.prod(shape) for kind, shape in weight_shapes(path).values() if "F" in kind)


def _count(values: dict[str, Any], name: str, folder: Path) -> int:
    """Return a whole number of a config or record, 0 where it is not given; ModelError where it is none."""
    value = values.get(name, 0)
    if type(value) is not int or value < 0:
        raise ModelError(f"{folder} is damaged ({name} is {value!r:.40}).")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, empty where the file is missing; ModelError where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged or cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged (not a JSON object).")
    return content
