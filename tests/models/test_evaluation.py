"""Predictions and metrics."""

from pathlib import Path

import pytest
import torch

from distill_core.data.datasets import Dataset, Example
from distill_core.data.tasks import get_task
from distill_core.errors import ConfigError, DataError
from distill_core.metrics.task_metrics import task_metrics
from distill_core.models.encoder import logits
from distill_core.models.evaluation import evaluate, gold_labels, predict_logits
from distill_core.models.tokenization import encode
from tests.support.tiny import tiny_model, tiny_tokenizer


def dataset(labels: list[int | None]) -> Dataset:
    texts = ["a good film", "boring", "great acting and great music", "hate the plot"]
    examples = tuple(Example(at, text, None, label) for at, (text, label) in enumerate(zip(texts, labels, strict=True)))
    return Dataset("sst2", "validation", "here", examples, "")


def test_results_are_in_the_order_of_the_rows(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "m")
    rows = [encode(tiny_tokenizer(), "good " * count) for count in (5, 1, 9, 3, 7)]
    seen: list[tuple[int, int]] = []
    found = predict_logits(
        model.network, rows, 0, batch_size=2, progress=lambda done, total: seen.append((done, total))
    )
    for row, ours in zip(rows, found, strict=True):
        from distill_core.models.tokenization import collate

        torch.testing.assert_close(ours[None], logits(model.network, collate([row], 0)), rtol=1e-4, atol=1e-5)
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_accuracy_counts_correct_answers(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "m")
    data = dataset([1, 1, 1, 1])
    ones = evaluate(model, data)["accuracy"]
    assert ones == pytest.approx(1 - evaluate(model, dataset([0, 0, 0, 0]))["accuracy"])
    assert task_metrics(get_task("sst2"), [1, 0, 1, 1], [1, 1, 1, 0]) == {"accuracy": 0.5}


def test_unlabelled_and_empty_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no label"):
        gold_labels(dataset([1, None, 0, 1]))
    with pytest.raises(DataError, match="no examples"):
        predict_logits(tiny_model(tmp_path / "m").network, [], 0)


def test_class_names_of_each_task() -> None:
    task = get_task("sst2")
    assert (task.classes, task.label_index("positive"), task.pair) == (2, 1, False)
    with pytest.raises(ConfigError, match="negative, positive"):
        task.label_index("neutral")
