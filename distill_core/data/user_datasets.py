"""Data sets of one's own, kept as checked rows: DISTILL_HOME/data/ID, read as the source `own/ID`.

ID is made of name, content and settings: the same file added twice the same way is one data set. Which rows are held
out depends on the texts alone, and texts that are alike but for case, blanks or, where a task's pairs are symmetric,
their order are on one side. A folder appears whole or not at all.
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
from distill_core.paths import home
from distill_core.shell_command import shell_command

USER_SOURCE_PREFIX = "own/"
HELD_OUT = 0.2  # share of the rows, where nothing else is said
MOST_NAME = 80  # characters
SPLIT_NAMES = ("train", "validation")
_META = "meta.json"
_LEFT_OVER = 86400  # seconds after which a folder half written or half removed is of no process that still runs


@dataclass(frozen=True)
class UserDataset:
    """What is known of a data set: the file it is from, how it was read, its rows by split, when it was added.

    `held_out`: share of the rows, None where a column said it. `fingerprint`: of content and settings.
    `digests`: SHA-256 of the file of each split. `added`: seconds since the epoch. `repeated`: rows held out whose
    texts are also trained on, which only a column of splits can bring about.
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

    @property
    def source(self) -> str:
        """What a run or a page is given to read it."""
        return USER_SOURCE_PREFIX + self.id

    @property
    def title(self) -> str:
        """What it is called, with the file it is from."""
        return f"{self.name} (own data, {self.file})"

    @property
    def no_training(self) -> str:
        """Why nothing can be trained on it; empty where it can."""
        if not self.labelled:
            return f"{self.title} has no labels: it can be explained, but not trained on. Add it with a label column."
        few = f"{self.title} has no rows to train on: wanted two labelled rows with different texts, or a split column "
        return "" if self.rows["train"] else few + "that says train."

    @property
    def too_easy(self) -> str:
        """Why numbers on its held-out rows say too much; empty where they do not."""
        if not self.repeated:
            return ""
        return (
            f"The texts of {self.repeated:,} of the {self.rows['validation']:,} held-out rows of {self.title} are also "
            "trained on, so numbers on them are too good. Mend the split column, or hold a share out instead."
        )


def add_user_dataset(
    table: Table, task_name: str, mapping: DataMapping, *, name: str = "", held_out: float = HELD_OUT
) -> UserDataset:
    """Check all of a file's rows and keep them; returns the data set that was there before if it is the same.

    `held_out`: share of the rows kept for validation, between 0 and 1; a `mapping.split` decides instead. `name`:
    empty for the file's. DataError or ConfigError for what cannot be used; then nothing was kept.
    """
    task = get_task(task_name)
    if not 0.0 < held_out < 1.0:  # nan too
        raise ConfigError(f"The held-out share is {held_out}; wanted a number between 0 and 1, such as {HELD_OUT}.")
    rows, settled = check_rows(task, table, mapping)
    share = None if settled.split is not None else held_out
    shown = "".join(letter for letter in " ".join((name or Path(table.file).stem).split()) if letter.isprintable())
    shown = shown[:MOST_NAME] or "data"
    fingerprint = _digest(json.dumps([table.digest, task.name, asdict(settled), share], sort_keys=True).encode())
    data_id = f"{_slug(shown)}-{fingerprint[:8]}"
    try:
        return find_user_dataset(data_id)
    except DataError as error:  # not there, or damaged: kept anew
        logging.getLogger(__name__).debug("%s", error)
    labelled = rows[0].label is not None
    parted = _parted(task, rows, share, labelled)
    if not parted["validation"]:
        raise DataError(f"Column {settled.split!r} of {table.file} says train in every row; wanted validation in some.")
    trained_on = {_likeness(task, row) for row in parted["train"]} if labelled else set()
    parts = {split: "".join(_line(task.columns, row) for row in found).encode() for split, found in parted.items()}
    data = UserDataset(
        id=data_id,
        name=shown,
        task=task.name,
        file=table.file,
        mapping=settled,
        held_out=share,
        labelled=labelled,
        rows={split: part.count(b"\n") for split, part in parts.items()},
        digests={split: _digest(part) for split, part in parts.items()},
        fingerprint=fingerprint,
        added=time.time(),
        repeated=sum(_likeness(task, row) in trained_on for row in parted["validation"]),
    )
    _keep(data, parts)
    return find_user_dataset(data_id)


def find_user_dataset(data_id: str) -> UserDataset:
    """Return a data set by its ID, with or without `own/`; DataError where it is not there or damaged."""
    folder = user_dataset_folder(data_id)
    try:
        values = json.loads((folder / _META).read_text(encoding="utf-8"))
        return UserDataset(**values | {"mapping": DataMapping(**values["mapping"]), "id": folder.name})
    except FileNotFoundError as error:
        if folder.exists():
            raise _damaged(folder, f"it has no {_META}") from error
        known = ", ".join(data.source for data in list_user_datasets()[:5]) or "none"
        raise DataError(
            f"There is no data set {USER_SOURCE_PREFIX + folder.name}: it was removed, or never added here. "
            f"Choose one of: {known}."
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(folder, f"{_META} cannot be read: {error}") from error


def list_user_datasets(task_name: str | None = None) -> list[UserDataset]:
    """Return the data sets of a task (all for None), newest first; damaged ones are left out, and logged."""
    found = []
    for file in (home() / "data").glob(f"[!.]*/{_META}"):
        try:
            found.append(find_user_dataset(file.parent.name))
        except DataError as error:  # one must not take the others from sight
            logging.getLogger(__name__).warning("left out of the list: %s", error)
    chosen = [data for data in found if task_name in (None, data.task)]
    return sorted(chosen, key=lambda data: data.added, reverse=True)


def read_user_rows(data: UserDataset, split: str) -> list[dict[str, Any]]:
    """Return the rows of `train` or `validation`, as GLUE's; DataError where there is none, or it is damaged."""
    if split == "train" and data.no_training:
        raise DataError(data.no_training)
    path = user_dataset_folder(data.id) / f"{split}.jsonl"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path.parent, f"{path.name} cannot be read: {error}") from error
    if _digest(content) != data.digests.get(split):
        raise _damaged(path.parent, f"{path.name} is not as it was written")
    return [json.loads(line) for line in content.decode().split("\n") if line]


def remove_user_dataset(data_id: str) -> None:
    """Delete a data set, damaged or not; DataError where there is none. Runs keep their record of it."""
    folder = user_dataset_folder(data_id)
    if not folder.is_dir():
        find_user_dataset(data_id)  # says which there are
    gone = folder.with_name(f".gone-{folder.name}-{os.getpid()}")
    try:
        folder.rename(gone)
    except OSError as error:
        raise DataError(f"{folder} could not be removed ({error}); check its rights, or delete it by hand.") from error
    shutil.rmtree(gone, ignore_errors=True)  # what stays of it is swept


def user_dataset_folder(data_id: str) -> Path:
    """Return the folder of a data set, there or not; DataError for what cannot be an ID."""
    name = data_id.removeprefix(USER_SOURCE_PREFIX)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,78}[a-z0-9])?", name):
        raise DataError(f"{data_id[:80]!r} is no ID of own data; IDs look like own/film-reviews-1a2b3c4d.")
    return home() / "data" / name


def _parted(task: Task, rows: Sequence[CheckedRow], share: float | None, labelled: bool) -> dict[str, list[CheckedRow]]:
    """Return the rows of each split, in the file's order; all are for validation where none can be trained on."""
    if share is None:
        return {split: [row for row in rows if row.split == split] for split in SPLIT_NAMES}
    keys = [_likeness(task, row) for row in rows]
    counts = Counter(keys)
    if not labelled or len(counts) == 1:
        return {"train": [], "validation": list(rows)}
    room = min(max(1, round(share * len(rows))), len(rows) - 1)
    held_out = set()
    for key in sorted(counts):
        if counts[key] <= room:
            held_out.add(key)
            room -= counts[key]
    held_out = held_out or {min(sorted(counts), key=counts.__getitem__)}  # every text has more rows than are wanted
    both = [(row, "validation" if key in held_out else "train") for row, key in zip(rows, keys, strict=True)]
    return {split: [row for row, side in both if side == split] for split in SPLIT_NAMES}


def _likeness(task: Task, row: CheckedRow) -> str:
    """Return a digest that rows share whose texts a model is to be taken to have seen when it has seen one of them."""
    texts = [" ".join(text.casefold().split()) for text in row.texts]
    return _digest(json.dumps(sorted(texts) if task.symmetric else texts).encode())


def _keep(data: UserDataset, parts: Mapping[str, bytes]) -> None:
    """Write a data set to a folder beside its place, then rename it there; what is damaged there is replaced."""
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
        if not folder.is_dir():  # else another process was first with the same
            raise DataError(
                f"{data.name} could not be kept in {folder} ({error}); check its rights and space."
            ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what was half written, or half removed, when a process was killed."""
    for rest in (*folder.glob(".part-*"), *folder.glob(".gone-*")):
        with suppress(FileNotFoundError):  # another process sweeps too
            if time.time() - rest.stat().st_mtime > _LEFT_OVER:
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
