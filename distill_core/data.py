"""Where examples come from: a GLUE folder, the hub or its cache, or the bundled sample; no tokens yet.

`auto` takes the first that is there, without touching the network: the folder named by `GLUE_DIR` or
in the settings, GLUE in the local Hugging Face cache, the bundled sample.
"""

import hashlib
import json
import os
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_core.errors import DataError
from distill_core.paths import ASSETS
from distill_core.settings import read_settings
from distill_core.tasks import Task, get_task

HUB_ID = "nyu-mll/glue"
SPLITS = ("train", "validation")
_SAMPLE_SPLIT = {"train": "train", "validation": "look"}  # names in assets/examples/*.jsonl
_TSV_SPLIT = {"train": "train.tsv", "validation": "dev.tsv"}  # names in the original GLUE archive


@dataclass(frozen=True)
class Example:
    """One text (or pair of texts) with its gold class index, None where unlabelled."""

    index: int
    text: str
    text_pair: str | None
    label: int | None


@dataclass(frozen=True)
class Dataset:
    """The examples of one split, in order, with where they came from and a digest of their content."""

    task: str
    split: str
    source: str
    examples: tuple[Example, ...]
    fingerprint: str

    def sample(self, count: int | None, seed: int) -> "Dataset":
        """Return `count` examples drawn without replacement as a data set of its own (all, in order, for None)."""
        if count is None or count >= len(self.examples):
            return self
        chosen = random.Random(seed).sample(self.examples, count)
        return _dataset(self.task, self.split, self.source, tuple(chosen))


def glue_folder() -> Path | None:
    """Return the GLUE folder the user named (`GLUE_DIR`, else the settings), None if neither is set."""
    named = os.environ.get("GLUE_DIR") or read_settings().glue_dir
    return _folder(named) if named else None


def describe_source(task_name: str, source: str = "auto") -> str:
    """Say in a few words where `load_split` would read from; loads nothing."""
    kind, folder = _resolve(get_task(task_name), source)
    return _source_name(kind, folder)


def load_split(task_name: str, split: str, source: str = "auto") -> Dataset:
    """Read all examples of a split.

    `source`: `auto` (see the module), `bundled`, `hub` (downloads on first use) or a GLUE folder.
    Raises DataError when the source lacks the split or a row cannot be used; nothing is half-loaded.
    """
    task = get_task(task_name)
    if split not in SPLITS:
        raise DataError(f"Unknown split {split!r}; choose one of: {', '.join(SPLITS)}.")
    kind, folder = _resolve(task, source)
    if kind == "bundled":
        rows = _read_sample(task, split)
    elif kind == "folder":
        assert folder is not None
        rows = _read_folder(task, split, folder)
    elif kind == "cache":
        assert folder is not None
        rows = _read_hub_cache(task, split, folder)
    elif kind == "hub":
        rows = _read_hub(task, split)
    else:
        raise DataError(f"Unknown kind of source {kind!r}.")
    return _dataset(task.name, split, _source_name(kind, folder), _examples(task, rows, f"{task.name} {split}"))


def _resolve(task: Task, source: str) -> tuple[str, Path | None]:
    if source == "auto":
        folder = glue_folder()
        if folder is not None:
            return "folder", folder
        cached = _hub_cache_folder(task)
        return ("cache", cached) if cached else ("bundled", None)
    if source in ("bundled", "hub"):
        return source, None
    return "folder", _folder(source)


def _folder(text: str) -> Path:
    """Return the folder a text names, whether it exists or not; DataError for what cannot be a path."""
    try:
        folder = Path(text).expanduser()
        folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no rights, an unknown ~user, a NUL
        raise DataError(f"The GLUE folder {text[:200]!r} cannot be used ({error}).") from error
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


def _examples(task: Task, rows: Iterable[Mapping[str, Any]], where: str) -> tuple[Example, ...]:
    examples = []
    for index, row in enumerate(rows):
        texts = [row.get(column) for column in task.columns]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(f"{where}: row {index + 1} has no text in {' or '.join(task.columns)}.")
        label = row.get("label")
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < task.classes:
            given = repr(label)[:80]
            raise DataError(f"{where}: row {index + 1} has label {given}; wanted 0 to {task.classes - 1}.")
        text_pair = str(texts[1]).strip() if len(texts) > 1 else None
        examples.append(Example(index, str(texts[0]).strip(), text_pair, label))
    if not examples:
        raise DataError(f"{where}: no examples.")
    return tuple(examples)


def _read_sample(task: Task, split: str) -> list[dict[str, Any]]:
    path = ASSETS / "examples" / f"{task.name}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"The bundled examples {path.name} cannot be read ({error}); reinstall the app.") from error
    return [row for row in rows if row.get("split") == _SAMPLE_SPLIT[split]]


def _read_folder(task: Task, split: str, folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise DataError(f"The GLUE folder {folder} does not exist; correct GLUE_DIR or the setting, or unset it.")
    wanted = _plain(task.name)
    homes = [child for child in sorted(folder.iterdir()) if child.is_dir() and _plain(child.name) == wanted]
    for home in homes:
        parquet, tsv = home / f"{split}.parquet", home / _TSV_SPLIT[split]
        if parquet.is_file():
            return _read_parquet(parquet)
        if tsv.is_file():
            return _read_tsv(tsv)
    raise DataError(
        f"{folder} has no {split} split of {task.name}: looked for "
        f"{task.name}/{split}.parquet and SST-2-style {_TSV_SPLIT[split]} in a folder of that name."
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable parquet file ({error}).") from error
    return rows


def _read_tsv(path: Path) -> list[dict[str, Any]]:
    """Read an original GLUE file: tab-separated, a header line, quotation marks and lone CRs are text."""
    try:
        text = path.read_bytes().decode("utf-8")  # as it is: Python's lines would also end at a CR
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as tab-separated UTF-8 text ({error}).") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    names, *cells = [line.split("\t") for line in lines if line] or [[]]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: the header line names a column twice ({', '.join(names)[:200]}); rename one.")
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(cells, start=1):
        if len(row) > len(names):
            raise DataError(f"{path}: row {number} has {len(row)} cells, the header line {len(names)}; mend the row.")
        rows.append(dict(zip(names, row, strict=False)))  # a cell that lacks is told from its column
        label = rows[-1].get("label", "")
        if label.strip().isdecimal() and len(label) < 10:  # else it is refused as it is
            rows[-1]["label"] = int(label)
    return rows


def _hub_cache_folder(task: Task) -> Path | None:
    """Return the folder of `datasets`' local cache that holds this task, found without importing it."""
    hub_home = os.environ.get("HF_HOME") or str(Path("~/.cache/huggingface").expanduser())
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or f"{hub_home}/datasets").expanduser()
    found = sorted(cache.glob(f"nyu-mll___glue/{task.name}/*/*/glue-train.arrow"))
    return found[-1].parent if found else None


def _read_hub_cache(task: Task, split: str, folder: Path) -> list[dict[str, Any]]:
    import datasets

    try:
        rows: list[dict[str, Any]] = datasets.Dataset.from_file(str(folder / f"glue-{split}.arrow")).to_list()
    except Exception as error:  # pyarrow and datasets raise many kinds here; all mean the same to the user
        raise DataError(f"The cached {HUB_ID} {task.name} in {folder} cannot be read ({error}).") from error
    return rows


def _read_hub(task: Task, split: str) -> list[dict[str, Any]]:
    import datasets

    try:
        rows: list[dict[str, Any]] = datasets.load_dataset(HUB_ID, task.name, split=split).to_list()
    except Exception as error:  # network, hub and file errors come in a dozen classes
        raise DataError(
            f"{HUB_ID} {task.name} could not be fetched ({type(error).__name__}: {error}); "
            "check the connection, or use the bundled sample or a GLUE folder."
        ) from error
    return rows
