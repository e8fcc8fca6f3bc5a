"""GLUE on disk: parquet, the original archive's TSV, the cache of `datasets`; rows are returned as on the hub."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill_core.data.tasks import Task, normalise_name
from distill_core.errors import DataError

HUB_ID = "nyu-mll/glue"
_COLUMNS = {  # names in the original archive -> names on the hub
    "#1 String": "sentence1",
    "#2 String": "sentence2",
    "Quality": "label",
    "is_duplicate": "label",
    "gold_label": "label",
    "score": "label",
}
MIN_COMPLETE_SHARE = 0.99  # share of complete rows from which the few others are skipped, as the hub's own reader does
_HEADERS = {"cola": ("source", "label", "mark", "sentence")}  # the columns of files without a header line


def read_folder(task: Task, split: str, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a split in a GLUE folder; DataError if it is missing or cannot be read."""
    file = split_file(task, split, folder)
    if file is None:
        raise DataError(
            f"{folder} has no {split} split of {task.name}; wanted {task.name}/{split}.parquet, or the original "
            f"archive's {_tsv_name(split)} in a folder of that name. Add the file, or choose another source."
        )
    if file.suffix == ".parquet":
        return _read_parquet(file)
    return [_as_on_the_hub(task, row) for row in _read_tsv(file, _HEADERS.get(task.name))]


def split_file(task: Task, split: str, folder: Path) -> Path | None:
    """Return the file of a split in a GLUE folder, None if there is none; DataError if the folder is missing."""
    if not folder.is_dir():
        raise DataError(f"The GLUE folder {folder} does not exist; correct GLUE_DIR or the setting, or unset it.")
    wanted = normalise_name(task.name)
    try:
        homes = [child for child in sorted(folder.iterdir()) if child.is_dir() and normalise_name(child.name) == wanted]
        files = (home / name for home in homes for name in (f"{split}.parquet", _tsv_name(split)))
        return next((file for file in files if file.is_file()), None)
    except OSError as error:
        raise DataError(f"The GLUE folder {folder} cannot be read ({error}); check its permissions.") from error


def _tsv_name(split: str) -> str:
    """Return the name of a split's file in the original archive."""
    return split.replace("validation", "dev") + ".tsv"


def _as_on_the_hub(task: Task, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of an original file with the column names and labels of the hub."""
    renamed = {_COLUMNS.get(name, name): value for name, value in row.items()}
    for place, column in enumerate(task.columns, start=1):
        renamed.setdefault(column, renamed.get(f"sentence{place}"))  # MNLI's premise and hypothesis
    label = str(renamed.get("label", "")).strip()
    if label in task.labels:
        return renamed | {"label": task.label_index(label)}
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", label):
        return renamed  # refused where labels are checked
    return renamed | {"label": float(label) if task.span else int(label) if label.isdecimal() else label}


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} is not a readable parquet file ({error}); download it again, or choose another source."
        ) from error
    return rows


def _read_tsv(path: Path, header: Sequence[str] | None) -> list[dict[str, Any]]:
    """Read an original GLUE file: tab-separated, with a header line unless one is given."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # decoded by hand: Python's text mode would end lines at a CR, too
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as tab-separated UTF-8 text ({error}); check its permissions, or save it as UTF-8."
        ) from error
    cells = [row for _, row in tsv_lines(text) if row]
    names, *cells = [*([list(header)] if header else []), *cells] or [[]]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: the header line names a column twice ({', '.join(names)[:200]}); rename one.")
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(cells, start=1):
        if len(row) > len(names):
            raise DataError(
                f"{path}: row {number} has {len(row)} cells, the header line {len(names)}; correct the row."
            )
        rows.append(dict(zip(names, row, strict=False)))  # a missing cell is a missing column
    complete = [row for row in rows if len(row) == len(names)]
    return complete if len(complete) >= MIN_COMPLETE_SHARE * len(rows) else rows


def tsv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line, no cells for a blank one; quotation marks and lone CRs are text."""
    for number, line in enumerate(text.split("\n"), start=1):
        cells = line.removesuffix("\r")
        yield number, cells.split("\t") if cells else []


def hub_cache_folder(task: Task) -> Path | None:
    """Return the folder of this task in the local cache of `datasets`, without importing that library."""
    hub_home = os.environ.get("HF_HOME") or str(Path("~/.cache/huggingface").expanduser())
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or f"{hub_home}/datasets").expanduser()
    files = sorted(cache.glob(f"nyu-mll___glue/{task.name}/*/*/glue-train.arrow"))
    return files[-1].parent if files else None


def cached_file(split: str, folder: Path) -> Path:
    """Return the path of a split in a folder of the local cache of `datasets`, existing or not."""
    return folder / f"glue-{split}.arrow"


def read_hub_cache(task: Task, split: str, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a split in a folder of the local cache of `datasets`; DataError if it cannot be read."""
    import datasets

    try:
        rows: list[dict[str, Any]] = datasets.Dataset.from_file(str(cached_file(split, folder))).to_list()
    except Exception as error:  # pyarrow and datasets raise many classes here; all mean the same to the user
        raise DataError(
            f"The cached {HUB_ID} {task.name} in {folder} cannot be read ({error}); delete that folder to download it "
            "again, or choose another source."
        ) from error
    return rows
