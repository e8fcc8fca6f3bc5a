"""Reading a user's CSV, TSV or JSONL file into rows of named cells; every fault is named with its place.

A *row* is a data row, counted from 1; a *line* is one of the file, the header being line 1. CSV may be quoted, its
cells separated by commas, semicolons or tabs (whichever is most frequent in its header); TSV is unquoted, as GLUE's
is; JSONL has one object a line. Text is UTF-8, with or without a byte order mark; blank lines at the end are ignored.
"""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from distill_core.data.glue import tsv_lines
from distill_core.errors import DataError

MAX_MEGABYTES = 50
COLUMN = "column "  # with its number, the name of a column without one
FILE_KINDS = ("csv", "tsv", "jsonl")
_NAMED = 3  # faults that a message names; it counts the others
_MAX_FAULTS = 1_000  # reading stops there: more would add nothing
_NUMBER = re.compile(r"[+-]?([0-9][0-9.,]*|[.,][0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_HEADER_SAMPLE = 1_000  # records that show whether the first is a header
_MAX_NESTING = 50  # lists and objects inside one another in a JSON value

csv.field_size_limit(MAX_MEGABYTES * 2**20)  # a text may be as long as a file


@dataclass(frozen=True)
class Table:
    """A file's rows: cells by column (text; in JSONL any value), the line each begins at, SHA-256 of the bytes.

    `headed`: whether the first line names the columns; if not, they are `column 1` and so on. Always true for JSONL.
    """

    file: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    lines: tuple[int, ...]
    digest: str
    headed: bool = True

    def place(self, at: int) -> str:
        """Return the place of the row at an index, as messages name it."""
        return _place(at + 1, self.lines[at])


def read_table(file: str, content: bytes, headed: bool | None = None) -> Table:
    """Read all rows of a file named `file`; DataError naming the faults with row and line.

    `headed`: whether the first line of a CSV or TSV names the columns; None to guess it from the content.
    """
    file, kind, text = _open(file, content)
    if kind == "jsonl":
        headed = True
        columns, rows = _objects(file, text)
    else:
        headed = _names_columns(file, kind, text) if headed is None else headed
        columns, rows = _cells(file, _records(file, kind, text), headed)
    if not rows:
        raise DataError(f"{file} has no rows; wanted {'a' if kind == 'jsonl' else 'a header line and a'} row at least.")
    lines, cells = zip(*rows, strict=True)
    return Table(file, columns, cells, lines, hashlib.sha256(content).hexdigest(), headed)


def has_header(file: str, content: bytes) -> bool:
    """Guess from the content whether a file's first line names the columns; DataError if it cannot be read.

    It does not if it has a number, or a value that another row has in the same column (repetitions of it aside).
    """
    file, kind, text = _open(file, content)
    return _names_columns(file, kind, text)


def check_size(file: str, size: int) -> None:
    """Raise DataError for a file that is too large, before it is read; `size` in bytes."""
    if size > MAX_MEGABYTES * 2**20:
        raise DataError(f"{file} has {size / 2**20:,.1f} MB; wanted at most {MAX_MEGABYTES} MB. Use fewer rows.")


def printable(file: str) -> str:
    """Return a file's name as it can be shown and stored: "?" for each byte of it that is not UTF-8."""
    return file.encode(errors="replace").decode()


class Faults:
    """The faults of a file: the first in words, the others counted; raised as one DataError."""

    def __init__(self, file: str, advice: str) -> None:
        self._file, self._advice = file, advice
        self._named: list[str] = []
        self._count = 0

    def add(self, fault: str) -> None:
        """Record a fault, which begins with its place; raises DataError once there are too many."""
        self._count += 1
        if self._count <= _NAMED:
            self._named.append(fault)
        if self._count == _MAX_FAULTS:
            self._advice = f"Reading stopped there. {self._advice}"
            self.refuse()

    def refuse(self) -> None:
        """Raise DataError with the first faults, the number of others and the advice; do nothing without faults."""
        if self._named:
            others = self._count - len(self._named)
            more = f"; and {others:,} more like these" if others else ""
            raise DataError(f"{self._file}: {'; '.join(self._named)}{more}. {self._advice}")


def _place(row: int, line: int) -> str:
    return f"row {row:,} (line {line:,})"


def _decoded(file: str, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file} is not UTF-8: byte {error.start + 1:,} (line {line:,}) is 0x{content[error.start]:02x}; "
            "save the file as UTF-8."
        ) from error
    before, nul, _ = text.partition("\0")
    if nul:
        line = before.count("\n") + 1
        raise DataError(
            f"{file}: line {line:,} holds a NUL character, which is not allowed in text; save the file as UTF-8 text."
        )
    return text.rstrip("\r\n")


def _csv_lines(file: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which each record begins, and its cells; no cells for a blank line."""
    delimiter = max(",;\t", key=re.split(r"[\r\n]", text, maxsplit=1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{file}: line {line:,} has a misplaced quotation mark ({error}); enclose a text that has quotation marks "
            'in quotation marks and double those inside: "a ""good"" film".'
        ) from error


def _names_columns(file: str, kind: str, text: str) -> bool:
    if kind == "jsonl":
        return True
    first, *others = [cells for _, cells in islice(_records(file, kind, text), _HEADER_SAMPLE)] or [[]]
    if any(_NUMBER.fullmatch(cell.strip()) for cell in first):
        return False
    rows = [cells for cells in others if cells != first]  # repeated headers, in concatenated files
    return not any(cells[at] == name for cells in rows for at, name in enumerate(first[: len(cells)]) if name.strip())


def _open(file: str, content: bytes) -> tuple[str, str, str]:
    """Return a file's printable name, its kind and its text; DataError for another kind."""
    file = printable(file)
    kind = Path(file).suffix.lower().removeprefix(".")
    if kind not in FILE_KINDS:
        raise DataError(f"{file} does not end in .csv, .tsv or .jsonl; export it in one of these formats.")
    check_size(file, len(content))
    return file, kind, _decoded(file, content)


def _records(file: str, kind: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which each record of a CSV or TSV begins, and its cells."""
    return tsv_lines(text) if kind == "tsv" else _csv_lines(file, text)


def _cells(
    file: str, numbered: Iterable[tuple[int, list[str]]], headed: bool
) -> tuple[tuple[str, ...], list[tuple[int, dict[str, Any]]]]:
    """Return column names and rows, each with its line, of records whose first, if `headed`, is the header."""
    records = iter(numbered)
    begun, names = next(records, (1, []))
    header = [(headed and name.strip()) or f"{COLUMN}{at}" for at, name in enumerate(names, start=1)]
    duplicates = [name for name, count in Counter(header).items() if count > 1]
    if duplicates:
        raise DataError(f"{file}: the header line names {_quoted(duplicates)} twice; rename one.")
    faults = Faults(file, "Correct or remove them; in CSV, enclose a text that has the separator in quotation marks.")
    rows: list[tuple[int, dict[str, Any]]] = []
    blank: list[str] = []  # since the last row; allowed at the end of the file
    for row, (line, cells) in enumerate(records if headed else chain([(begun, names)], records), start=1):
        if not any(cells):
            if len(blank) < _MAX_FAULTS:
                blank.append(_place(row, line))
            continue
        for place in blank:
            faults.add(f"{place} is empty")
        blank = []
        if len(cells) == len(header):
            rows.append((line, dict(zip(header, cells, strict=True))))
        else:
            count = f"{len(cells)} cell" + "s" * (len(cells) > 1)
            faults.add(f"{_place(row, line)} has {count}, the {'header' if headed else 'first'} line {len(header)}")
    faults.refuse()
    return tuple(header), rows


def _objects(file: str, text: str) -> tuple[tuple[str, ...], list[tuple[int, dict[str, Any]]]]:
    """Return all names that occur, and the rows of a JSONL file, each with its line."""
    if not text.strip():
        return (), []
    faults = Faults(file, 'Each line must be one object, such as {"sentence": "A fine film.", "label": "positive"}.')
    rows: list[tuple[int, dict[str, Any]]] = []
    for line, source in enumerate(text.rstrip().split("\n"), start=1):
        try:
            rows.append((line, _object(source)))
        except ValueError as error:
            words = f"is not a JSON object ({error})" if source.strip() else "is empty"
            faults.add(f"{_place(line, line)} {words}")
    faults.refuse()
    return tuple(dict.fromkeys(name for _, row in rows for name in row)), rows


def _object(source: str) -> dict[str, Any]:
    """Return the JSON object of a line, if it can be written again; ValueError with the reason otherwise."""
    try:
        value = json.loads(source, object_pairs_hook=_unique_names)
        if not isinstance(value, dict):
            raise ValueError(f"it is {source.strip()[:40]}, not an object")
        _check_depth(value)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"it has an invalid Unicode character, \\u{ord(error.object[error.start]):04x}") from None
    return value


def _check_depth(value: object) -> None:
    """Raise RecursionError for lists and objects nested so deeply that writing them could exhaust the stack."""
    level: list[Any] = [value]
    for _ in range(_MAX_NESTING):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
                 if isinstance(inner, dict | list)]  # fmt: skip
    if level:
        raise RecursionError


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict; ValueError if a name occurs twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"it names {_quoted(sorted(name for name in counts if counts[name] > 1))} twice")
    return values


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names)
