"""User datasets, stored as checked rows in DISTILL_HOME/data/ID and read as the source `own/ID`.

The ID is made of name, content and settings: the same file added twice in the same way is one dataset. Which rows are
held out depends on the texts alone; texts that differ only in case, blanks or, where a task's pairs are symmetric, in
their order are in the same split. A folder appears complete or not at all.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distill_core.data.column_mapping import CheckedRow, DataMapping, check_rows
from distill_core.data.tasks import Task, get_task
from distill_core.data.user_files import Table
from distill_core.errors import ConfigError, DataError
from distill_core.json_file import read_json_object
from distill_core.paths import home
from distill_core.shell_command import shell_command

USER_SOURCE_PREFIX = "own/"
HELD_OUT = 0.2  # default share of the rows
MAX_NAME = 80  # characters
SPLIT_NAMES = ("train", "validation")
_META = "meta.json"
_LATEST = 1e11  # seconds since the epoch that can still be shown as a date
_STALE_SECONDS = 86400  # age of a partial folder that no running process can own


@dataclass(frozen=True)
class UserDataset:
    """The record of a dataset: its file, how it was read, the number of rows by split, when it was added.

    `held_out`: share of the rows, None where a split column decides. `fingerprint`: of content and settings.
    `digests`: SHA-256 of the file of each split. `added`: seconds since the epoch. `repeated`: held-out rows whose
    texts are also in the training rows, which only a split column can cause.
    """

    id: str
    name: str
    task: str
    file: str
    mapping: DataMapping
    held_out: float | None
    labelled: bool
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    fingerprint: str
    added: float
    repeated: int = 0

    def __post_init__(self) -> None:
        texts = (self.id, self.name, self.task, self.file, self.fingerprint)
        counts = [*(self.rows.get(split) for split in ("train", "validation")), self.repeated]
        whole = (
            all(isinstance(text, str) for text in (*texts, *self.digests, *self.digests.values()))
            and all(type(count) is int and count >= 0 for count in counts)
            and (self.held_out is None or type(self.held_out) in (int, float))
            and type(self.labelled) is bool
            and type(self.added) in (int, float)
            and 0 <= self.added < _LATEST
        )
        if not whole:
            raise ValueError("it is not the record of a data set")

    @property
    def source(self) -> str:
        """The source under which runs and pages read it."""
        return USER_SOURCE_PREFIX + self.id

    @property
    def title(self) -> str:
        """Its name with the name of its file."""
        return f"{self.name} (own data, {self.file})"

    @property
    def training_obstacle(self) -> str:
        """Why no model can be trained on it; empty if one can."""
        if not self.labelled:
            return f"{self.title} has no labels: it can be explained, but not trained on. Add it with a label column."
        if not self.rows["train"]:
            return (
                f"{self.title} has no training rows: wanted two labelled rows with different texts, or a split column "
                "with train in some rows."
            )
        return ""

    @property
    def leakage_warning(self) -> str:
        """Why metrics on its held-out rows are too high; empty if they are not."""
        if not self.repeated:
            return ""
        return (
            f"The texts of {self.repeated:,} of the {self.rows['validation']:,} held-out rows of {self.title} are also "
            "trained on, so metrics on them are too high. Correct the split column, or hold out a share instead."
        )


def add_user_dataset(
    table: Table, task_name: str, mapping: DataMapping, *, name: str = "", held_out: float = HELD_OUT
) -> UserDataset:
    """Check and store all rows of a file as a dataset; an identical one that exists is returned.

    `held_out`: share of the rows held out for validation, between 0 and 1; ignored if there is a `mapping.split`.
    `name`: empty for the file's. DataError or ConfigError for what cannot be used; then nothing is stored.
    """
    task = get_task(task_name)
    if not 0.0 < held_out < 1.0:  # nan too
        raise ConfigError(f"The held-out share is {held_out}; wanted a number between 0 and 1, such as {HELD_OUT}.")
    rows, complete = check_rows(task, table, mapping)
    share = None if complete.split is not None else held_out
    shown = "".join(letter for letter in " ".join((name or Path(table.file).stem).split()) if letter.isprintable())
    shown = shown[:MAX_NAME] or "data"
    fingerprint = _digest(json.dumps([table.digest, task.name, asdict(complete), share], sort_keys=True).encode())
    data_id = f"{_slug(shown)}-{fingerprint[:8]}"
    try:
        return find_user_dataset(data_id)
    except DataError as error:  # missing or damaged: store it again
        logging.getLogger(__name__).debug("%s", error)
    labelled = rows[0].label is not None
    by_split = _split_rows(task, rows, share, labelled)
    if not by_split["validation"]:
        raise DataError(f"Column {complete.split!r} of {table.file} has train in every row; wanted validation in some.")
    trained_on = {_near_duplicate_key(task, row) for row in by_split["train"]} if labelled else set()
    parts = {split: "".join(_line(task.columns, row) for row in chosen).encode() for split, chosen in by_split.items()}
    data = UserDataset(
        id=data_id,
        name=shown,
        task=task.name,
        file=table.file,
        mapping=complete,
        held_out=share,
        labelled=labelled,
        rows={split: part.count(b"\n") for split, part in parts.items()},
        digests={split: _digest(part) for split, part in parts.items()},
        fingerprint=fingerprint,
        added=time.time(),
        repeated=sum(_near_duplicate_key(task, row) in trained_on for row in by_split["validation"]),
    )
    _store(data, parts)
    return find_user_dataset(data_id)


def find_user_dataset(data_id: str) -> UserDataset:
    """Return a dataset by its ID, with or without `own/`; DataError if it is missing or damaged."""
    folder = user_dataset_folder(data_id)
    try:
        values = read_json_object(folder / _META)
        return UserDataset(**values | {"mapping": DataMapping(**values["mapping"]), "id": folder.name})
    except FileNotFoundError as error:
        if folder.exists():
            raise _damaged(folder, f"it has no {_META}") from error
        known = ", ".join(data.source for data in list_user_datasets()[:5]) or "none"
        raise DataError(
            f"There is no data set {USER_SOURCE_PREFIX + folder.name}: it was removed, or never added here. "
            f"Choose one of: {known}."
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, f"{_META} cannot be read: {error}") from error


def list_user_datasets(task_name: str | None = None) -> list[UserDataset]:
    """Return the datasets of a task (all for None), newest first; damaged ones are skipped and logged."""
    datasets = []
    for file in (home() / "data").glob(f"[!.]*/{_META}"):
        try:
            datasets.append(find_user_dataset(file.parent.name))
        except DataError as error:  # one damaged dataset must not hide the others
            logging.getLogger(__name__).warning("skipped in the list: %s", error)
    chosen = [data for data in datasets if task_name in (None, data.task)]
    return sorted(chosen, key=lambda data: data.added, reverse=True)


def read_user_rows(data: UserDataset, split: str) -> list[dict[str, Any]]:
    """Return the rows of `train` or `validation`, in GLUE's form; DataError if there are none or they are damaged."""
    if split == "train" and data.training_obstacle:
        raise DataError(data.training_obstacle)
    path = user_dataset_folder(data.id) / f"{split}.jsonl"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} cannot be read: {error}") from error
    if _digest(content) != data.digests.get(split):
        raise _damaged(path.parent, f"{path.name} was changed after it was written")
    return [json.loads(line) for line in content.decode().split("\n") if line]


def remove_user_dataset(data_id: str) -> None:
    """Delete a dataset, damaged or not; DataError if there is none. Runs keep their record of it."""
    folder = user_dataset_folder(data_id)
    if not folder.is_dir():
        find_user_dataset(data_id)  # raises, naming those that exist
    gone = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
    try:
        folder.rename(gone)
    except OSError as error:
        raise DataError(
            f"{folder} could not be removed ({error}); check its permissions, or delete it by hand."
        ) from error
    shutil.rmtree(gone, ignore_errors=True)  # leftovers are swept later


def user_dataset_folder(data_id: str) -> Path:
    """Return the folder of a dataset, existing or not; DataError for what cannot be an ID."""
    name = data_id.removeprefix(USER_SOURCE_PREFIX)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,78}[a-z0-9])?", name):
        raise DataError(f"{data_id[:80]!r} is not the ID of a dataset; IDs look like own/film-reviews-1a2b3c4d.")
    return home() / "data" / name


def _split_rows(
    task: Task, rows: Sequence[CheckedRow], share: float | None, labelled: bool
) -> dict[str, list[CheckedRow]]:
    """Return the rows of each split, in the file's order; without labels all are for validation."""
    if share is None:
        return {split: [row for row in rows if row.split == split] for split in SPLIT_NAMES}
    keys = [_near_duplicate_key(task, row) for row in rows]
    counts = Counter(keys)
    if not labelled or len(counts) == 1:
        return {"train": [], "validation": list(rows)}
    remaining = min(max(1, round(share * len(rows))), len(rows) - 1)
    held_out = set()
    for key in sorted(counts):
        if counts[key] <= remaining:
            held_out.add(key)
            remaining -= counts[key]
    held_out = held_out or {
        min(sorted(counts), key=counts.__getitem__)
    }  # every text has more rows than are to be held out
    assigned = [(row, "validation" if key in held_out else "train") for row, key in zip(rows, keys, strict=True)]
    return {split: [row for row, side in assigned if side == split] for split in SPLIT_NAMES}


def _near_duplicate_key(task: Task, row: CheckedRow) -> str:
    """Return a digest shared by near-duplicates: rows alike but for case, blanks and symmetric order."""
    texts = [" ".join(text.casefold().split()) for text in row.texts]
    return _digest(json.dumps(sorted(texts) if task.symmetric else texts).encode())


def _store(data: UserDataset, parts: Mapping[str, bytes]) -> None:
    """Write a dataset to a folder beside its place and rename it; a damaged one is replaced."""
    folder = user_dataset_folder(data.id)
    _sweep(folder.parent)
    part = folder.with_name(f".part-{data.id}-{os.getpid()}-{time.monotonic_ns()}")
    try:
        part.mkdir(parents=True)
        for split, content in parts.items():
            (part / f"{split}.jsonl").write_bytes(content)
        (part / _META).write_text(json.dumps(asdict(data), ensure_ascii=False, indent=2), encoding="utf-8")
        if folder.is_dir():
            remove_user_dataset(data.id)
        part.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process has just stored the same
            raise DataError(
                f"{data.name} could not be stored in {folder} ({error}); check its permissions and free space."
            ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Delete partial folders that killed processes left."""
    for rest in (*folder.glob(".part-*"), *folder.glob(".gone-*")):
        with suppress(FileNotFoundError):  # another process may have swept it
            if time.time() - rest.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(rest, ignore_errors=True)


def _line(columns: Sequence[str], row: CheckedRow) -> str:
    return json.dumps(dict(zip(columns, row.texts, strict=True)) | {"label": row.label}, ensure_ascii=False) + "\n"


def _damaged(folder: Path, cause: str) -> DataError:
    return DataError(
        f"The data set {USER_SOURCE_PREFIX + folder.name} is damaged ({cause}). Remove it and add its file "
        f"again. To remove it: {shell_command('data', 'remove', folder.name)}"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _slug(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name)[:40].strip("-") or "data"
