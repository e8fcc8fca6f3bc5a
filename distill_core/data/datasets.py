"""The sources of examples: GLUE in a folder, on the hub or in its cache, the bundled sample, user datasets; as text.

`auto` takes the first that exists, without using the network: the folder named by `GLUE_DIR` or in the settings, GLUE
in the local Hugging Face cache, the bundled sample.
"""

import hashlib
import json
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_core.data.glue import HUB_ID, cached_file, hub_cache_folder, read_folder, read_hub_cache, split_file
from distill_core.data.tasks import Answer, Task, get_task
from distill_core.data.user_datasets import USER_SOURCE_PREFIX, UserDataset, find_user_dataset, read_user_rows
from distill_core.errors import DataError
from distill_core.paths import ASSETS
from distill_core.settings import read_settings


@dataclass(frozen=True)
class Example:
    """One text (or pair of texts) with its gold class index or score, None where unlabelled."""

    index: int
    text: str
    text_pair: str | None
    label: Answer | None


@dataclass(frozen=True)
class Dataset:
    """The examples of one split, in order, with their source and a digest of their content."""

    task: str
    split: str
    source: str
    examples: tuple[Example, ...]
    fingerprint: str

    @property
    def labelled(self) -> bool:
        """Whether its examples have gold labels: all have, or none."""
        return self.examples[0].label is not None

    def sample(self, count: int | None, seed: int) -> "Dataset":
        """Return `count` examples drawn without replacement as another Dataset (all, in order, for None)."""
        if count is None or count >= len(self.examples):
            return self
        chosen = random.Random(seed).sample(self.examples, count)
        return _dataset(self.task, self.split, self.source, tuple(chosen))


def glue_folder() -> Path | None:
    """Return the GLUE folder the user set (`GLUE_DIR`, else the settings), None if neither is set."""
    configured = os.environ.get("GLUE_DIR") or read_settings().glue_dir
    return _folder(configured) if configured else None


def pin_source(task_name: str, source: str) -> str:
    """Return a source that means the same to every process: `auto` resolved, a folder by its absolute path.

    The hub's cache stays `auto`: it has no name as a source, and `hub` would use the network.
    """
    kind, folder = ("own", None) if source.startswith(USER_SOURCE_PREFIX) else _resolve(get_task(task_name), source)
    return str(folder.resolve()) if kind == "folder" and folder else source if kind != "bundled" else kind


def describe_source(task_name: str, source: str = "auto") -> str:
    """Return the title of the source `load_split` would read; DataError for a missing user dataset."""
    if source.startswith(USER_SOURCE_PREFIX):
        return find_user_dataset(source).title
    kind, folder = _resolve(get_task(task_name), source)
    return _source_name(kind, folder)


def list_splits(task_name: str, source: str = "auto") -> tuple[str, ...]:
    """Return the splits of a source, those to evaluate on first; reads no example and does not use the network."""
    task = get_task(task_name)
    if source.startswith(USER_SOURCE_PREFIX):
        return ("validation",) if find_user_dataset(source).training_obstacle else ("validation", "train")
    kind, folder = _resolve(task, source)
    splits = (*task.evaluations[: 1 if kind == "bundled" else None], "train")
    if folder is None:
        return splits
    if kind == "cache":
        return tuple(split for split in splits if cached_file(split, folder).is_file())
    return tuple(split for split in splits if split_file(task, split, folder))


def load_split(task_name: str, split: str, source: str = "auto") -> Dataset:
    """Read all examples of a split.

    `source`: `auto` (see the module), `bundled`, `hub` (downloads on first use), `own/ID` or a GLUE folder.
    Raises DataError if the source lacks the split or a row cannot be used; never returns a part.
    """
    task = get_task(task_name)
    if split not in task.splits:
        raise DataError(f"Unknown split {split[:80]!r} of {task.name}; choose one of: {', '.join(task.splits)}.")
    if source.startswith(USER_SOURCE_PREFIX):
        return _load_user_dataset(task, split, find_user_dataset(source))
    if split == "validation":
        split = task.evaluations[0]
    kind, folder = _resolve(task, source)
    if kind == "bundled":
        if split not in ("train", task.evaluations[0]):
            raise DataError(f"The bundled sample has no {split}; choose one of: {task.evaluations[0]}, train.")
        rows = _read_sample(task, split)
    elif kind == "folder":
        assert folder is not None
        rows = read_folder(task, split, folder)
    elif kind == "cache":
        assert folder is not None
        rows = read_hub_cache(task, split, folder)
    elif kind == "hub":
        rows = _read_hub(task, split)
    else:
        raise DataError(f"Unknown kind of source {kind!r}; choose one of: bundled, folder, cache, hub.")
    name = _source_name(kind, folder)
    return _dataset(task.name, split, name, _examples(task, rows, f"{task.name} {split} from {name}"))


def _load_user_dataset(task: Task, split: str, data: UserDataset) -> Dataset:
    if data.task != task.name:
        raise DataError(
            f"{data.title} was added for {data.task}, not for {task.name}; choose that task, or other data."
        )
    if split not in ("train", "validation", task.evaluations[0]):
        raise DataError(f"{data.title} has no {split} split; choose one of: train, validation.")
    split = "train" if split == "train" else "validation"
    examples = _examples(task, read_user_rows(data, split), f"{data.source} {split}", data.labelled)
    return _dataset(task.name, split, data.title, examples)


def _resolve(task: Task, source: str) -> tuple[str, Path | None]:
    if source == "auto":
        folder = glue_folder()
        if folder is not None:
            return "folder", folder
        cached = hub_cache_folder(task)
        return ("cache", cached) if cached else ("bundled", None)
    if source in ("bundled", "hub"):
        return source, None
    return "folder", _folder(source)


def _folder(text: str) -> Path:
    """Return the folder a text names, existing or not; DataError for what cannot be a path."""
    try:
        folder = Path(text).expanduser()
        folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no permission, an unknown ~user, a NUL
        raise DataError(f"The GLUE folder {text[:200]!r} cannot be used ({error}); choose another folder.") from error
    return folder


def _source_name(kind: str, folder: Path | None) -> str:
    names = {
        "bundled": "bundled sample (written for this app)",
        "folder": f"GLUE folder {folder}",
        "cache": f"{HUB_ID} (local Hugging Face cache)",
        "hub": f"{HUB_ID} (Hugging Face hub)",
    }
    return names[kind]


def _dataset(task: str, split: str, source: str, examples: tuple[Example, ...]) -> Dataset:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.text, example.text_pair, example.label]).encode())
    return Dataset(task, split, source, examples, digest.hexdigest())


def _examples(task: Task, rows: Iterable[Mapping[str, Any]], where: str, labelled: bool = True) -> tuple[Example, ...]:
    examples = []
    for index, row in enumerate(rows):
        texts = [row.get(column) for column in task.columns]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(f"{where}: row {index + 1} has no text in {' or '.join(task.columns)}; correct the file.")
        label: Any = row.get("label")
        if labelled and not _fits(task, label):
            low, high = task.span or (0, task.classes - 1)
            raise DataError(
                f"{where}: row {index + 1} has label {repr(label)[:80]}; wanted {low} to {high}. Correct the file."
            )
        text_pair = str(texts[1]).strip() if len(texts) > 1 else None
        gold = float(label) if task.span and labelled else label
        examples.append(Example(index, str(texts[0]).strip(), text_pair, gold))
    if not examples:
        raise DataError(f"{where}: no examples; correct the file, or choose other data.")
    return tuple(examples)


def _fits(task: Task, label: object) -> bool:
    """Return whether a label is one of the task's class indices, or a score within its span."""
    if isinstance(label, bool) or not isinstance(label, int | float):
        return False
    if task.span:
        return task.span[0] <= label <= task.span[1]
    return isinstance(label, int) and 0 <= label < task.classes


def _read_sample(task: Task, split: str) -> list[dict[str, Any]]:
    path = ASSETS / "examples" / f"{task.name}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"The bundled examples {path.name} cannot be read ({error}); reinstall the app.") from error
    return [row for row in rows if row.get("split") == ("train" if split == "train" else "look")]


def _read_hub(task: Task, split: str) -> list[dict[str, Any]]:
    import datasets

    try:
        rows: list[dict[str, Any]] = datasets.load_dataset(HUB_ID, task.name, split=split).to_list()
    except Exception as error:  # network, hub and file errors have many unrelated classes
        raise DataError(
            f"{HUB_ID} {task.name} could not be downloaded ({type(error).__name__}: {error}); "
            "check the connection, or use the bundled sample or a GLUE folder."
        ) from error
    return rows
