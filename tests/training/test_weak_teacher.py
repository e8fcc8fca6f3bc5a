"""A teacher no better than a constant prediction, on all of the bundled validation examples."""

from pathlib import Path

import pytest

from distill_core.data.datasets import load_split
from distill_core.errors import RunError
from distill_core.models.bundle import open_model
from distill_core.models.evaluation import evaluate
from distill_core.runs.events import Event, Measured, Note
from distill_core.training.session import prepare
from tests.support.small_run import small_run
from tests.support.tiny import tiny_folder


def run_of(teacher: Path, weak_teacher: str, task: str = "sst2") -> list[Event]:
    tiny_folder(teacher, layers=2, task=task)
    return list(prepare(small_run(teacher, task=task, steps=4, weak_teacher=weak_teacher)).events())


def test_a_teacher_no_better_than_chance_is_refused_unless_it_is_wanted(tmp_path: Path) -> None:
    words = r"teacher's accuracy on 160 validation examples is 0\.\d+; majority-class baseline: 0.5.*weak_teacher go_on"
    with pytest.raises(RunError, match=words):
        run_of(tmp_path / "teacher", "stop")
    events = run_of(tmp_path / "teacher", "go_on")
    (metric,) = [event.values for event in events if isinstance(event, Measured) and "teacher/accuracy" in event.values]
    rows = load_split("sst2", "validation", "bundled")
    teacher = open_model(str(tmp_path / "teacher"))
    assert metric["teacher/accuracy"] == evaluate(teacher, rows, max_length=32)["accuracy"]
    assert any("next to nothing to learn" in event.text for event in events if isinstance(event, Note))


def test_too_few_examples_refuse_no_teacher(tmp_path: Path) -> None:
    events = run_of(tmp_path / "teacher", "stop", task="wnli")  # of 72 examples
    assert any("loss" in event.values for event in events if isinstance(event, Measured))
