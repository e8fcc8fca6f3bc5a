"""Explain one text through a teacher and its students: predictions, maps aligned by piece or by word, agreement.

Results are cached by model (the fingerprint of its weights) and class: a repeated request opens no model, and a changed
student recomputes only its own results.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from distill_core.attribution.targets import choose_targets
from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from distill_core.errors import ModelError
from distill_core.explanation.cache import ExplanationCache, cache_key
from distill_core.explanation.layout import layout_by_pieces, layout_by_words, sum_to_words
from distill_core.explanation.lazy_model import LazyModel, as_lazy_model
from distill_core.explanation.model_reader import ENGINE, ModelReader, Reading
from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import Explanation, ModelExplanation, agreements
from distill_core.models.class_order import named_order
from distill_core.models.encoder import LoadedModel
from distill_core.models.evaluation import predict_logits
from distill_core.models.tokenization import check_text, encode_all

Progress = Callable[[int, int], None]


def explain(
    request: ExplanationRequest,
    get_model: Callable[[str], LoadedModel | LazyModel],
    *,
    cache: ExplanationCache | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Explain the request's text through its teacher and students.

    `get_model` returns the model of each name in `request.models`. `cache`: None to compute everything.
    `progress(done, total)` is called before each model's maps, with the number of models done.
    A model with as many classes as the task gets the task's class names, unless it has these names in another order.
    Raises ConfigError for unknown names, DataError for text without a word or the wrong number of texts for the
    task, ModelError for models with different classes, TokensDifferError for maps by pieces where the pieces differ.
    """
    request = request.resolved()
    check_text(request.text, request.text_pair)
    readers = [ModelReader(as_lazy_model(get_model(name)), request, cache) for name in request.models]
    readings = _with_shared_classes(readers, _read(readers, request.max_length), request.task)
    by_words = request.units == "words"
    layout = layout_by_words(request, readings) if by_words else layout_by_pieces(readers, readings)
    teacher = readings[0]
    classes = choose_targets(request.target, teacher.labels, torch.tensor([teacher.logits]))[0].tolist()
    models: list[ModelExplanation] = []
    for reader, reading in zip(readers, readings, strict=True):
        if progress is not None:
            progress(len(models), len(readers))
        model = reader.explain(reading, classes)
        models.append(sum_to_words(model, reading, layout.words) if by_words else model)
    explanation = Explanation(request=request, models=tuple(models), consistency=(), **vars(layout))
    return replace(explanation, consistency=agreements(explanation))


def predict_all(
    model: LoadedModel | LazyModel,
    dataset: Dataset,
    *,
    cache: ExplanationCache | None = None,
    max_length: int = 128,
    progress: Progress | None = None,
) -> tuple[tuple[float, ...], ...]:
    """Return a model's logits for every example of a data set, in order; opens the model only if they are not cached.

    `progress(done, total)` is called between batches, with the number of examples done.
    """
    lazy = as_lazy_model(model)
    key = cache_key(ENGINE, lazy.fingerprint, "predictions", dataset.fingerprint, max_length)
    cached = cache.get([key]) if cache else {}
    if key in cached:
        return tuple(tuple(row) for row in json.loads(cached[key]))
    loaded = lazy.open()
    rows = encode_all(loaded.tokenizer, dataset.examples, min(max_length, loaded.max_length))
    predictions = predict_logits(loaded.network, rows, loaded.pad_id, progress=progress).tolist()
    if cache:
        cache.put({key: json.dumps(predictions)})
    return tuple(tuple(row) for row in predictions)


def _read(readers: Sequence[ModelReader], max_length: int | None) -> list[Reading]:
    """Read the text with every model, all cut at the shortest limit where that makes their tokens the same."""
    readings = [reader.read(max_length) for reader in readers]
    shortest = min(reading.limit for reading in readings)
    if any(len(reading.encoded.ids) > shortest for reading in readings):
        shorter = [reader.read(shortest) for reader in readers]
        return shorter if len({reading.encoded.tokens for reading in shorter}) == 1 else readings
    return readings


def _with_shared_classes(readers: Sequence[ModelReader], readings: Sequence[Reading], task: str) -> list[Reading]:
    """Return the readings with the teacher's class names; ModelError where a student has different classes."""
    teacher, *students = (_class_names(reading.labels, task) for reading in readings)
    for reader, student in zip(readers[1:], students, strict=True):
        if list(map(str.casefold, student)) != list(map(str.casefold, teacher)):
            raise ModelError(
                f"{readers[0].id} and {reader.id} have different classes ({', '.join(teacher)}; "
                f"{', '.join(student)}), so their maps cannot be compared; choose models of one task."
            )
    return [replace(reading, labels=teacher) for reading in readings]


def _class_names(labels: tuple[str, ...], task: str) -> tuple[str, ...]:
    """Return the task's names for as many classes as it has, unless they are these names in another order."""
    names, order = get_task(task).labels, named_order(labels, task)
    in_task_order = order is None or order == tuple(range(len(names)))
    return names if in_task_order and len(labels) == len(names) else labels
