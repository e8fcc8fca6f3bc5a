"""How a file's columns and labels become a task's: guessed, checked row by row, never half-applied.

A value of the label column means a class by what the mapping says, else by the class' name (letters of any size) or
its index; for a regression it is a number within the task's span. Labels are all there or all missing. Line breaks
inside a text become spaces: GLUE has none, and a field of one line could not show them.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from distill_core.data.tasks import Answer, Task
from distill_core.data.user_files import Faults, Table
from distill_core.errors import DataError

SPLITS = {  # what a column of splits may say
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "test", "eval"), "validation"),
}
LIKELY = 0.5  # share of a column's values that stand for a class, from which on it is taken for the labels
_ONE_TEXT = ("text", "sentence", "review", "content", "comment", "message", "title", "body")
_LABELS = ("label", "labels", "class", "target", "category", "sentiment", "gold", "goldlabel", "answer", "y")
_SCORES = ("score", "similarity", "rating")


@dataclass(frozen=True)
class DataMapping:
    """Which column of a file is what.

    `columns`: the task's columns to the file's; `label`: the column of labels, None for a file without; `labels`:
    values there to class names, for those that do not say it themselves; `split`: a column that says train or
    validation for each row, None to hold a share out.
    """

    columns: Mapping[str, str]
    label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None


@dataclass(frozen=True)
class CheckedRow:
    """A checked row: the task's texts, the class index or score (None: unlabelled), the split if the file names it."""

    texts: tuple[str, ...]
    label: Answer | None
    split: str | None


def guess_mapping(task: Task, table: Table) -> DataMapping:
    """Return the likeliest mapping; a column of the task without a likely one is left out of it.

    By name, exact or alike, then the only columns left over; as labels the only one left with a value for each class.
    """
    left = list(table.columns)
    label = _taken(left, _LABELS + (_SCORES if task.span else ()))
    split = _taken(left, ("split", "set", "part", "fold"))
    if split is not None and not is_split_column(table, split):
        left, split = [*left, split], None
    columns: dict[str, str] = {}
    for at, column in enumerate(task.columns, start=1):
        alike = _ONE_TEXT if not task.pair else (f"sentence{at}", f"text{at}", f"{'ab'[at - 1]}", f"text{'ab'[at - 1]}")
        found = _taken(left, (column, *alike))
        if found is not None:
            columns[column] = found
    if label is None:
        likeliest = max(left, key=lambda name: _share_known(task, table, name), default=None)
        if likeliest is not None and _share_known(task, table, likeliest) >= LIKELY:
            label = likeliest
            left.remove(label)
    open_columns = [column for column in task.columns if column not in columns]
    texts = [name for name in left if any(isinstance(row.get(name), str) and " " in row[name] for row in table.rows)]
    if len(texts) == len(open_columns):
        columns |= dict(zip(open_columns, texts, strict=True))
    if label is None and not task.span:
        free = [name for name in left if name not in columns.values()]
        fitting = [name for name in free if len(value_counts(table, name)) == task.classes]
        label = fitting[0] if len(fitting) == 1 else None
    return DataMapping(columns, label, guess_labels(task, table, label), split)


def value_counts(table: Table, column: str) -> dict[str, int]:
    """Return the values of a column as text, commonest first, with how often each occurs; empty cells are none."""
    counts = Counter(value for row in table.rows if (value := _value(row.get(column))))
    return dict(counts.most_common())


def is_split_column(table: Table, column: str) -> bool:
    """Tell whether every row says train or validation in a column, in a word of `SPLITS`."""
    return all(_value(row.get(column)).lower() in SPLITS for row in table.rows)


def guess_labels(task: Task, table: Table, column: str | None) -> dict[str, str]:
    """Return the class each value of a column stands for, where it can be told, its beginning being enough."""
    if task.span or column is None:
        return {}
    guessed = {value: _class_of(task, value) for value in value_counts(table, column)}
    for value, name in guessed.items():
        begun = [label for label in task.labels if len(value) > 2 and _plain(label).startswith(_plain(value))]
        guessed[value] = name or (begun[0] if len(begun) == 1 else None)
    return {value: name for value, name in guessed.items() if name is not None}


def check_rows(task: Task, table: Table, mapping: DataMapping) -> tuple[list[CheckedRow], DataMapping]:
    """Return all rows as the task needs them, and the mapping with what every value found stands for.

    DataError naming missing columns, or the rows that cannot be used; ConfigError for a class the task has not.
    """
    _check_columns(task, table, mapping)
    values = {} if mapping.label is None else value_counts(table, mapping.label)
    labels = {value: name for value in values if (name := mapping.labels.get(value) or _class_of(task, value))}
    for name in mapping.labels.values():
        task.label_index(name)
    settled = replace(mapping, labels={} if task.span else labels)
    faults = Faults(table.file, f"Mend or remove these rows.{f' Labels are {_wanted(task)}.' if values else ''}")
    rows = []
    for at, cells in enumerate(table.rows):
        texts = tuple(cells.get(mapping.columns[column]) for column in task.columns)
        value = _value(cells.get(mapping.label)) if mapping.label is not None else ""
        split = _value(cells.get(mapping.split)).lower() if mapping.split is not None else None
        found = [_text_fault(mapping.columns[name], text) for name, text in zip(task.columns, texts, strict=True)]
        if values:
            found.append(_label_fault(task, value, settled))
        if split is not None and split not in SPLITS:
            found.append(f"says {split[:40]!r} in {mapping.split!r}, not train or validation")
        for fault in filter(None, found):
            faults.add(f"{table.place(at)} {fault}")
        if not any(found):
            label = _answer(task, value, settled) if values else None
            rows.append(CheckedRow(tuple(_one_line(str(text)) for text in texts), label, SPLITS.get(split or "")))
    faults.refuse()
    return rows, settled


def _check_columns(task: Task, table: Table, mapping: DataMapping) -> None:
    chosen = [mapping.columns.get(column) for column in task.columns]
    missing = [column for column, name in zip(task.columns, chosen, strict=True) if name is None]
    there = ", ".join(table.columns)[:400]
    if missing:
        raise DataError(f"{table.file} has no column for {' and '.join(missing)}; choose among: {there}.")
    extra = (mapping.label, mapping.split)
    unknown = [name for name in (*chosen, *extra) if name is not None and name not in table.columns]
    if unknown:
        raise DataError(f"{table.file} has no column {', '.join(map(repr, unknown))}; its columns are: {there}.")
    used = [name for name in (*chosen, *extra) if name is not None]
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        raise DataError(f"Column {twice[0]!r} of {table.file} is chosen twice; choose another, of: {there}.")


def _text_fault(column: str, text: object) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        return f"has no text in {column!r}"
    if not isinstance(text, str):
        return f"has {json.dumps(text)[:40]} in {column!r}, not a text in quotation marks"
    if not any(map(str.isprintable, text.replace(" ", ""))):
        return f"has nothing but control characters in {column!r}"
    return f"has a NUL character in {column!r}" if "\0" in text else ""


def _label_fault(task: Task, value: str, mapping: DataMapping) -> str:
    if not value:
        return f"has no label in {mapping.label!r}, though other rows have one"
    known = _answer(task, value, mapping) is not None
    return "" if known else f"has the {'score' if task.span else 'label'} {value[:40]!r}"


def _answer(task: Task, value: str, mapping: DataMapping) -> Answer | None:
    """Return what a value of the label column means, None where it means nothing."""
    if task.span:
        number = _number(value)
        return number if number is not None and task.span[0] <= number <= task.span[1] else None
    return task.label_index(mapping.labels[value]) if value in mapping.labels else None


def _class_of(task: Task, value: str) -> str | None:
    """Return the class that a value names by itself or by its index."""
    named = [label for label in task.labels if _plain(label) == _plain(value)]
    index = _number(value)
    if named or task.span or index is None or index not in range(task.classes):
        return named[0] if named and not task.span else None
    return task.labels[int(index)]


def _wanted(task: Task) -> str:
    if task.span:
        return f"numbers from {task.span[0]:g} to {task.span[1]:g}"
    return f"{', '.join(task.labels)}, or 0 to {task.classes - 1}; of other values, say which class they mean"


def _share_known(task: Task, table: Table, column: str) -> float:
    """Return the share of a column's different values that stand for a class."""
    return len(guess_labels(task, table, column)) / max(1, len(value_counts(table, column)))


def _taken(left: list[str], names: Sequence[str]) -> str | None:
    """Take the first column out of `left` that is called like one of these names."""
    for name in names:
        for column in left:
            if _plain(column) == _plain(name):
                left.remove(column)
                return column
    return None


def _value(cell: Any) -> str:
    """Return a cell's value as text, empty where there is none; JSON's true and 1.5 as they are written there."""
    if cell is None:
        return ""
    return cell.strip() if isinstance(cell, str) else json.dumps(cell)


def _one_line(text: str) -> str:
    return re.sub(r"\s*[\r\n]+\s*", " ", text.strip())


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{1,18})?(e-?[0-9]{1,2})?", text) else None


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())
