"""The mapping of a file's columns and labels to a task's: guessed by name and content, applied to all rows or none.

A value of the label column means a class by the mapping, else by the name of the class (in any case) or its index; for
a regression it is a number within the task's span. Either all rows have labels or none. Line breaks inside a text
become spaces: GLUE has none, and a field of one line could not show them.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distill_core.data.tasks import Answer, Task, normalise_name
from distill_core.data.user_files import Faults, Table
from distill_core.errors import DataError

SPLITS = {  # values of a split column
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "test", "eval"), "validation"),
}
MIN_CLASS_SHARE = 0.5  # of a column's values that name a class: from there on it is taken as the label column
_ONE_TEXT = ("text", "sentence", "review", "content", "comment", "message", "title", "body")
_LABELS = ("label", "labels", "class", "target", "category", "sentiment", "gold", "goldlabel", "answer", "y")
_SCORES = ("score", "similarity", "rating")


@dataclass(frozen=True)
class DataMapping:
    """The role of each column of a file.

    `columns`: task column -> file column; `label`: the label column, None for a file without labels; `labels`: value
    in the label column -> class name, where the value is not the name itself; `split`: a column with train or
    validation in each row, None to hold out a share of the rows.
    """

    columns: Mapping[str, str]
    label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None

    def __post_init__(self) -> None:
        names = [*self.columns.items(), *self.labels.items(), (self.label or "", self.split or "")]
        if not all(isinstance(text, str) for pair in names for text in pair):
            raise ValueError(f"not the columns of a file: {self!r:.80}")


@dataclass(frozen=True)
class CheckedRow:
    """A checked row: the task's texts, the class index or score (None: unlabelled), the split if the file has one."""

    texts: tuple[str, ...]
    label: Answer | None
    split: str | None


def guess_mapping(task: Task, table: Table) -> DataMapping:
    """Return the likeliest mapping, without the columns of the task for which no column of the file is likely.

    Columns are matched by name, exact or similar, then by being the only ones left; the label column may be the only
    one left with as many values as there are classes.
    """
    unused = list(table.columns)
    label = _take_by_name(unused, _LABELS + (_SCORES if task.span else ()))
    split = _take_by_name(unused, ("split", "set", "part", "fold"))
    if split is not None and not is_split_column(table, split):
        unused, split = [*unused, split], None
    columns: dict[str, str] = {}
    for at, column in enumerate(task.columns, start=1):
        similar = (
            _ONE_TEXT if not task.pair else (f"sentence{at}", f"text{at}", f"{'ab'[at - 1]}", f"text{'ab'[at - 1]}")
        )
        match = _take_by_name(unused, (column, *similar))
        if match is not None:
            columns[column] = match
    if label is None:
        likeliest = max(unused, key=lambda name: _share_known(task, table, name), default=None)
        if likeliest is not None and _share_known(task, table, likeliest) >= MIN_CLASS_SHARE:
            label = likeliest
            unused.remove(label)
    open_columns = [column for column in task.columns if column not in columns]
    texts = [name for name in unused if any(isinstance(row.get(name), str) and " " in row[name] for row in table.rows)]
    if len(texts) == len(open_columns):
        columns |= dict(zip(open_columns, texts, strict=True))
    if label is None and not task.span:
        free = [name for name in unused if name not in columns.values()]
        fitting = [name for name in free if len(value_counts(table, name)) == task.classes]
        label = fitting[0] if len(fitting) == 1 else None
    return DataMapping(columns, label, guess_labels(task, table, label), split)


def value_counts(table: Table, column: str) -> dict[str, int]:
    """Return the values of a column as text, most frequent first, with their counts; empty cells are not counted."""
    counts = Counter(value for row in table.rows if (value := _value(row.get(column))))
    return dict(counts.most_common())


def is_split_column(table: Table, column: str) -> bool:
    """Return whether every row has train or validation, in a word of `SPLITS`, in a column."""
    return all(_value(row.get(column)).lower() in SPLITS for row in table.rows)


def guess_labels(task: Task, table: Table, column: str | None) -> dict[str, str]:
    """Return the class that each value of a column means, where its name, its beginning or its index shows it."""
    if task.span or column is None:
        return {}
    guessed = {value: _class_of(task, value) for value in value_counts(table, column)}
    for value, name in guessed.items():
        begun = [
            label for label in task.labels if len(value) > 2 and normalise_name(label).startswith(normalise_name(value))
        ]
        guessed[value] = name or (begun[0] if len(begun) == 1 else None)
    return {value: name for value, name in guessed.items() if name is not None}


def check_rows(task: Task, table: Table, mapping: DataMapping) -> tuple[list[CheckedRow], DataMapping]:
    """Return all rows as the task needs them, and the mapping completed with the class of every value.

    DataError naming missing columns, or the rows that cannot be used; ConfigError for a class the task does not have.
    """
    _check_columns(task, table, mapping)
    values = {} if mapping.label is None else value_counts(table, mapping.label)
    labels = {value: name for value in values if (name := mapping.labels.get(value) or _class_of(task, value))}
    for name in mapping.labels.values():
        task.label_index(name)
    complete = replace(mapping, labels={} if task.span else labels)
    faults = Faults(table.file, f"Correct or remove these rows.{f' Labels are {_wanted(task)}.' if values else ''}")
    rows = []
    for at, cells in enumerate(table.rows):
        texts = tuple(cells.get(mapping.columns[column]) for column in task.columns)
        value = _value(cells.get(mapping.label)) if mapping.label is not None else ""
        split = _value(cells.get(mapping.split)).lower() if mapping.split is not None else None
        row_faults = [_text_fault(mapping.columns[name], text) for name, text in zip(task.columns, texts, strict=True)]
        if values:
            row_faults.append(_label_fault(task, value, complete))
        if split is not None and split not in SPLITS:
            row_faults.append(f"has {split[:40]!r} in {mapping.split!r}, not train or validation")
        for fault in filter(None, row_faults):
            faults.add(f"{table.place(at)} {fault}")
        if not any(row_faults):
            label = _answer(task, value, complete) if values else None
            rows.append(CheckedRow(tuple(_one_line(str(text)) for text in texts), label, SPLITS.get(split or "")))
    faults.refuse()
    return rows, complete


def _check_columns(task: Task, table: Table, mapping: DataMapping) -> None:
    chosen = [mapping.columns.get(column) for column in task.columns]
    missing = [column for column, name in zip(task.columns, chosen, strict=True) if name is None]
    existing = ", ".join(table.columns)[:400]
    if missing:
        raise DataError(f"{table.file} has no column for {' and '.join(missing)}; choose among: {existing}.")
    extra = (mapping.label, mapping.split)
    unknown = [name for name in (*chosen, *extra) if name is not None and name not in table.columns]
    if unknown:
        raise DataError(f"{table.file} has no column {', '.join(map(repr, unknown))}; choose among: {existing}.")
    used = [name for name in (*chosen, *extra) if name is not None]
    duplicates = sorted({name for name in used if used.count(name) > 1})
    if duplicates:
        raise DataError(f"Column {duplicates[0]!r} of {table.file} is chosen twice; choose another one of: {existing}.")


def _text_fault(column: str, text: object) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        return f"has no text in {column!r}"
    if not isinstance(text, str):
        return f"has {json.dumps(text)[:40]} in {column!r}, not a text in quotation marks"
    if not any(map(str.isprintable, text.replace(" ", ""))):
        return f"has only control characters in {column!r}"
    return f"has a NUL character in {column!r}" if "\0" in text else ""


def _label_fault(task: Task, value: str, mapping: DataMapping) -> str:
    if not value:
        return f"has no label in {mapping.label!r}, though other rows have one"
    known = _answer(task, value, mapping) is not None
    return "" if known else f"has the {'score' if task.span else 'label'} {value[:40]!r}"


def _answer(task: Task, value: str, mapping: DataMapping) -> Answer | None:
    """Return the class index or score of a value of the label column, None if it is neither."""
    if task.span:
        number = _number(value)
        return number if number is not None and task.span[0] <= number <= task.span[1] else None
    return task.label_index(mapping.labels[value]) if value in mapping.labels else None


def _class_of(task: Task, value: str) -> str | None:
    """Return the class that a value names by its name or by its index."""
    named = [label for label in task.labels if normalise_name(label) == normalise_name(value)]
    index = _number(value)
    if named or task.span or index is None or index not in range(task.classes):
        return named[0] if named and not task.span else None
    return task.labels[int(index)]


def _wanted(task: Task) -> str:
    if task.span:
        return f"numbers from {task.span[0]:g} to {task.span[1]:g}"
    return f"{', '.join(task.labels)}, or 0 to {task.classes - 1}; map other values to a class"


def _share_known(task: Task, table: Table, column: str) -> float:
    """Return the share of a column's distinct values that mean a class."""
    return len(guess_labels(task, table, column)) / max(1, len(value_counts(table, column)))


def _take_by_name(unused: list[str], names: Sequence[str]) -> str | None:
    """Remove from `unused` and return the first column with one of these names."""
    for name in names:
        for column in unused:
            if normalise_name(column) == normalise_name(name):
                unused.remove(column)
                return column
    return None


def _value(cell: Any) -> str:
    """Return a cell's value as text, empty for no value; JSON's true and 1.5 as they are written in JSON."""
    if cell is None:
        return ""
    return cell.strip() if isinstance(cell, str) else json.dumps(cell)


def _one_line(text: str) -> str:
    return re.sub(r"\s*[\r\n]+\s*", " ", text.strip())


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{1,18})?(e-?[0-9]{1,2})?", text) else None
