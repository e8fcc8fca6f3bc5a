"""The nine tasks as on the hub, and their metrics."""

import math
import os

import pytest

from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS, get_task
from distill_core.errors import ConfigError
from distill_core.metrics.task_metrics import constant_metrics, task_metrics
from distill_core.models.evaluation import gold_labels

GLUE_DIR = os.environ.get("TEST_GLUE_DIR")


def test_the_nine_tasks_of_glue() -> None:
    assert set(TASKS) == {"cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"}
    assert [task.name for task in TASKS.values() if not task.pair] == ["sst2", "cola"]
    assert [task.name for task in TASKS.values() if task.span] == ["stsb"]
    assert get_task("mnli").labels == ("entailment", "neutral", "contradiction")
    assert get_task("mnli").splits == ("train", "validation", "validation_matched", "validation_mismatched")
    assert get_task("rte").labels == get_task("wnli").labels[::-1] == ("entailment", "not_entailment")
    with pytest.raises(ConfigError, match="sst2, cola"):
        get_task("none")


def test_metrics_are_those_of_glue() -> None:
    gold, told = [1, 0, 1, 1, 0], [1, 1, 1, 0, 0]
    assert task_metrics(get_task("sst2"), told, gold) == {"accuracy": 0.6}
    assert task_metrics(get_task("mrpc"), told, gold) == {"f1": pytest.approx(2 / 3), "accuracy": 0.6}
    # two right and one wrong of the positive, one and one of the negative: (2·1 − 1·1) / √(3·3·2·2)
    assert task_metrics(get_task("cola"), told, gold) == {"matthews_correlation": pytest.approx(1 / 6)}
    scores = task_metrics(get_task("stsb"), [1.0, 2.0, 4.0], [0.5, 1.0, 5.0])
    assert scores["spearmanr"] == pytest.approx(1.0)
    assert scores["pearson"] == pytest.approx(0.9732, abs=1e-3)


def test_the_majority_class_baseline_is_measured() -> None:
    assert constant_metrics(get_task("sst2"), [1, 1, 0]) == {"accuracy": pytest.approx(2 / 3)}
    assert constant_metrics(get_task("mrpc"), [0, 1])["f1"] == pytest.approx(2 / 3)  # the better of two as common
    assert constant_metrics(get_task("cola"), [1, 1, 0]) == {"matthews_correlation": 0.0}
    assert constant_metrics(get_task("stsb"), [1.0, 2.0, 2.0]) == {"pearson": 0.0, "spearmanr": 0.0}
    assert all(math.isnan(value) for value in task_metrics(get_task("stsb"), [2.0, 2.0], [1.0, 3.0]).values())


def test_labels_are_shown_in_words() -> None:
    assert get_task("mnli").label_name(2) == "contradiction"
    assert get_task("stsb").label_name(3.8) == "3.80"


@pytest.mark.skipif(not GLUE_DIR, reason="TEST_GLUE_DIR names no GLUE folder")
@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_real_glue_can_be_read_completely(task: object) -> None:
    from distill_core.data.tasks import Task

    assert isinstance(task, Task)
    for split in task.splits:
        found = load_split(task.name, split, str(GLUE_DIR))
        assert len(gold_labels(found)) > 70
        assert (found.examples[0].text_pair is not None) == task.pair


@pytest.mark.parametrize(
    ("task", "titles"),
    [
        ("sst2", ("Sentence",)),
        ("stsb", ("First sentence", "Second sentence")),
        ("qqp", ("First question", "Second question")),
        ("qnli", ("Question", "Sentence")),
        ("mnli", ("Premise", "Hypothesis")),
    ],
)
def test_texts_have_headings(task: str, titles: tuple[str, ...]) -> None:
    assert TASKS[task].text_titles == titles
