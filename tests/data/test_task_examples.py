"""The bundled examples of every task: columns, labels, counts and balance; none of them is in GLUE."""

import json
import os
import re
from collections import Counter

import pytest

from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS, Task
from distill_core.paths import ASSETS

GLUE_DIR = os.environ.get("TEST_GLUE_DIR")
every_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)


def rows_of(task: Task) -> list[dict[str, object]]:
    lines = (ASSETS / "examples" / f"{task.name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def normal(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


@every_task
def test_lines_have_the_hub_s_columns_and_enough_of_each_kind(task: Task) -> None:
    rows = rows_of(task)
    assert all(list(row) == [*task.columns, "label", "split", "kind"] for row in rows)
    look = [row for row in rows if row["split"] == "look"]
    assert rows[: len(look)] == look
    assert len(look) >= 60
    assert len(rows) - len(look) >= 150
    assert len(load_split(task.name, "validation", "bundled").examples) == len(look)
    kinds = Counter(row["kind"] for row in look)
    assert len(kinds) >= 5
    assert min(kinds.values()) >= 8


@every_task
def test_labels_are_balanced(task: Task) -> None:
    for split in ("look", "train"):
        labels = [row["label"] for row in rows_of(task) if row["split"] == split]
        if task.span:
            thirds = Counter(min(2, int(3 * float(str(label)) / task.span[1])) for label in labels)
            assert min(thirds.values()) > len(labels) / 5
        else:
            assert set(Counter(labels).values()) == {len(labels) // task.classes}


@every_task
def test_no_example_occurs_twice(task: Task) -> None:
    seen = [tuple(normal(str(row[column])) for column in task.columns) for row in rows_of(task)]
    assert [pair for pair, count in Counter(seen).items() if count > 1] == []


@pytest.mark.skipif(not GLUE_DIR, reason="TEST_GLUE_DIR names no GLUE folder")
@every_task
def test_no_example_is_in_glue(task: Task) -> None:
    glue = set()
    for split in task.splits:
        for example in load_split(task.name, split, str(GLUE_DIR)).examples:
            glue |= {normal(example.text), normal(example.text_pair or "")}
    ours = {str(row[column]) for row in rows_of(task) for column in task.columns}
    assert [text for text in ours if len(text.split()) >= 6 and normal(text) in glue] == []
