"""Explain one text through a teacher and its students: predictions, maps aligned by piece or by word, agreement.

Everything a model says is kept in the explanation cache under its weights' fingerprint, each model and
each class by itself: a second look opens no model, and a changed student recomputes only that student.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from distill_core.attribution import Attribution, AttributionMethod, attribute_each, get_method
from distill_core.attribution.base import baseline_used, check_output
from distill_core.attribution.reduce import sum_words, word_numbers
from distill_core.attribution.targets import choose_targets
from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from distill_core.errors import ConfigError, DataError, ModelError, TokensDifferError
from distill_core.explanation.cache import ExplanationCache, cache_key
from distill_core.explanation.lazy_model import ModelSource, source_of
from distill_core.explanation.result import UNITS, Explanation, ModelExplanation, TokenMap, agreements
from distill_core.models.class_order import named_order
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.evaluation import predict_logits
from distill_core.models.tokenization import (
    Encoded,
    check_text,
    collate,
    encode,
    encode_all,
    visible_text,
    written_words,
)

ENGINE = 6  # part of every cache key: raise it when the tokens of a text or the numbers of a method change


def explain(
    task: str,
    text: str,
    text_pair: str | None = None,
    *,
    teacher: LoadedModel | ModelSource,
    students: Sequence[LoadedModel | ModelSource] = (),
    method: str = "integrated_gradients",
    target: str = "pred",
    baseline: str | None = None,
    output: str = "logit",
    units: str = UNITS[0],
    include_special: bool = False,
    max_length: int | None = None,
    cache: ExplanationCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Explain a text (or pair) through a teacher and its students.

    `target`: `pred` (the teacher's predicted class, for every model, so that maps are comparable), `all`,
    or a class name. `baseline`: None for the method's own. `units`: one of UNITS; by `words` also models that cut the
    text into different tokens can be compared. A method that scores whole words answers in words whatever is asked.
    `include_special`: compare special tokens too, by pieces. `cache`: None to compute afresh.
    `max_length`: tokens at most; None for the shortest of the models' limits, or each its own where tokens differ.
    `progress(done, total)` is called before each model's maps, with the number of models done.
    Classes go by the task's names where there are as many, unless a model has these names in another order.
    Raises ConfigError for unknown names, DataError for text without a word or a number of texts that is not the
    task's, ModelError for models that know other classes, TokensDifferError for maps by pieces where the pieces differ.
    """
    _check_texts(task, text, text_pair)
    chosen = get_method(method)
    used = baseline_used(chosen, baseline)
    check_output(output, get_task(task).classes)
    units = _check_units("words" if chosen.by_word else units, include_special)
    readers = [_Reader(source_of(model), cache, text, text_pair) for model in (teacher, *students)]
    readings = _same_classes(readers, _read(readers, max_length), task)
    layout = _by_words(text, text_pair, readings) if units == "words" else _by_pieces(readers, readings)
    first = readings[0]
    classes = choose_targets(target, first.labels, torch.tensor([first.logits]))[0].tolist()
    models: list[ModelExplanation] = []
    for reader, reading in zip(readers, readings, strict=True):
        if progress is not None:
            progress(len(models), len(readers))
        said = reader.explain(reading, _MapSettings(method, chosen, used, output), classes)
        models.append(_summed(said, reading, layout.words) if units == "words" else said)
    explanation = Explanation(
        task=task,
        text=text,
        text_pair=text_pair,
        method=method,
        baseline=used,
        output=output,
        signed=chosen.signed,
        include_special=include_special,
        units=units,
        models=tuple(models),
        consistency=(),
        **vars(layout),
    )
    return replace(explanation, consistency=agreements(explanation))


def _check_units(units: str, include_special: bool) -> str:
    if units not in UNITS:
        raise ConfigError(f"Unknown units {units!r}; choose one of: {', '.join(UNITS)}.")
    if units == "words" and include_special:
        raise ConfigError("Special tokens are no words: explain by pieces, or leave include_special out.")
    return units


def _check_texts(task: str, text: str, text_pair: str | None) -> None:
    """Raise DataError unless there are as many texts as the task has, each with a word in it."""
    columns = get_task(task).columns
    if len(columns) > 1 and text_pair is None:
        raise DataError(f"Task {task} needs two texts ({' and '.join(columns)}); only one was given.")
    if len(columns) == 1 and text_pair is not None:
        raise DataError(f"Task {task} takes one text ({columns[0]}); a second was given: leave it out.")
    check_text(text, text_pair)


def predict_all(
    model: LoadedModel | ModelSource,
    dataset: Dataset,
    *,
    cache: ExplanationCache | None = None,
    max_length: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[float, ...], ...]:
    """Return a model's logits for every example of a data set, in order; opens the model only if unknown."""
    source = source_of(model)
    key = cache_key(ENGINE, source.fingerprint, "predictions", dataset.fingerprint, max_length)
    known = cache.get([key]) if cache else {}
    if key in known:
        return tuple(tuple(row) for row in json.loads(known[key]))
    loaded = source.open()
    rows = encode_all(loaded.tokenizer, dataset.examples, min(max_length, loaded.max_length))
    found = predict_logits(loaded.network, rows, loaded.pad_id, progress=progress).tolist()
    if cache:
        cache.put({key: json.dumps(found)})
    return tuple(tuple(row) for row in found)


@dataclass(frozen=True)
class _Reading:
    """How a model cuts the text, and its logits; `limit` is the most tokens it can take."""

    encoded: Encoded
    labels: tuple[str, ...]
    logits: tuple[float, ...]
    limit: int


@dataclass(frozen=True)
class _MapSettings:
    key: str
    method: AttributionMethod
    baseline: str | None
    output: str


class _Reader:
    """One model and one text: answers from the cache, opens the model when something is missing."""

    def __init__(self, source: ModelSource, cache: ExplanationCache | None, text: str, text_pair: str | None) -> None:
        self.source = source
        self._cache = cache
        self._texts = (text, text_pair)
        self._model: LoadedModel | None = None

    def read(self, max_length: int | None) -> _Reading:
        """Return the reading of the text, cut to `max_length` or the model's limit."""
        key = cache_key(ENGINE, self.source.fingerprint, "reading", *self._texts, max_length)
        known = self._recall([key])
        if key in known:
            return _reading_from_json(known[key])
        model = self._open()
        length = model.max_length if max_length is None else min(max_length, model.max_length)
        encoded = encode(model.tokenizer, *self._texts, max_length=length)
        with torch.no_grad():
            inputs = collate([encoded], model.pad_id).to(model.device)
            values = tuple(logits(model.network, inputs)[0].tolist())
        if not all(map(math.isfinite, values)):
            raise ModelError(f"Model {self.source.id}: its logits are not finite; its weights are damaged.")
        reading = _Reading(encoded, model.labels, values, model.max_length)
        self._keep({key: json.dumps(asdict(reading))})
        return reading

    def explain(self, reading: _Reading, settings: _MapSettings, classes: Sequence[int]) -> ModelExplanation:
        """Return everything about this model, computing only the maps of classes not in the cache."""
        encoded = reading.encoded
        base = (ENGINE, self.source.fingerprint, "map", encoded.ids, encoded.types, encoded.words)
        keys = {
            index: cache_key(*base, settings.key, repr(settings.method), settings.baseline, settings.output, index)
            for index in classes
        }
        known = self._recall(list(keys.values()))
        missing = [index for index in classes if keys[index] not in known]
        if missing:
            fresh = self._maps(reading, settings, missing)
            texts = {keys[index]: json.dumps(asdict(map_)) for index, map_ in zip(missing, fresh, strict=True)}
            self._keep(texts)
            known |= texts
        score = reading.logits[0] if len(reading.labels) == 1 else None
        probabilities = [] if score is not None else _softmax(reading.logits)
        return ModelExplanation(
            id=self.source.id,
            labels=reading.labels,
            logits=reading.logits,
            probabilities=tuple(probabilities),
            prediction=f"{score:.2f}" if score is not None else reading.labels[probabilities.index(max(probabilities))],
            attributions=tuple(_map_from_json(known[keys[index]], reading.labels[index]) for index in classes),
            unread=tuple(written_words(*self._texts)[word] for word in encoded.unread),
            cached=self._model is None,
        )

    def _maps(self, reading: _Reading, settings: _MapSettings, classes: Sequence[int]) -> list[TokenMap]:
        model, encoded = self._open(), reading.encoded
        found = attribute_each(
            settings.method,
            model,
            collate([encoded], model.pad_id),
            torch.tensor([list(classes)]),
            baseline=settings.baseline,
            output=settings.output,
            words=word_numbers([encoded]),
        )
        return [_token_map(one, reading.labels[index]) for one, index in zip(found, classes, strict=True)]

    def _open(self) -> LoadedModel:
        if self._model is None:
            self._model = self.source.open()
        return self._model

    def _recall(self, keys: list[str]) -> dict[str, str]:
        return self._cache.get(keys) if self._cache else {}

    def _keep(self, texts: Mapping[str, str]) -> None:
        if self._cache:
            self._cache.put(texts)


def _read(readers: Sequence[_Reader], max_length: int | None) -> list[_Reading]:
    """Read the text with every model, all cut at the shortest limit where that makes their tokens the same."""
    readings = [reader.read(max_length) for reader in readers]
    shortest = min(reading.limit for reading in readings)
    if any(len(reading.encoded.ids) > shortest for reading in readings):
        shorter = [reader.read(shortest) for reader in readers]
        return shorter if len({reading.encoded.tokens for reading in shorter}) == 1 else readings
    return readings


def _same_classes(readers: Sequence[_Reader], readings: Sequence[_Reading], task: str) -> list[_Reading]:
    """Return the readings with the teacher's class names; ModelError where a student knows other classes."""
    first, *others = (_named(reading.labels, task) for reading in readings)
    for reader, own in zip(readers[1:], others, strict=True):
        if list(map(str.casefold, own)) != list(map(str.casefold, first)):
            raise ModelError(
                f"{readers[0].source.id} and {reader.source.id} know different classes ({', '.join(first)}; "
                f"{', '.join(own)}), so their maps cannot be compared."
            )
    return [replace(reading, labels=first) for reading in readings]


def _named(labels: tuple[str, ...], task: str) -> tuple[str, ...]:
    """Return the task's names for as many classes as it has, unless they are these names in another order."""
    names, order = get_task(task).labels, named_order(labels, task)
    as_given = order is None or order == tuple(range(len(names)))
    return names if as_given and len(labels) == len(names) else labels


@dataclass(frozen=True)
class _Layout:
    """What the scores are of; the fields as in Explanation."""

    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    special: tuple[bool, ...]
    left_out: int


def _by_pieces(readers: Sequence[_Reader], readings: Sequence[_Reading]) -> _Layout:
    """Return the tokens all models see; TokensDifferError unless they are the same."""
    first = readings[0].encoded
    for reader, reading in zip(readers, readings, strict=True):
        if reading.encoded.tokens != first.tokens:
            raise TokensDifferError(
                f"{readers[0].source.id} and {reader.source.id} cut the text into different tokens, so their maps "
                "cannot be compared by pieces; compare them by words (units: words)."
            )
    return _Layout(first.tokens, first.shown, first.words, first.segments, first.special, first.left_out)


def _by_words(text: str, text_pair: str | None, readings: Sequence[_Reading]) -> _Layout:
    """Return the words that some model sees and all see entirely; a word no model has a piece of is nothing to show."""
    written, first = written_words(text, text_pair), len(written_words(text))
    cut = {word for reading in readings for word in reading.encoded.cut}
    whole = {word for reading in readings for word in reading.encoded.words} - cut
    words = [word for word in range(len(written)) if word in whole]
    if not words:
        raise DataError(
            "The first word is longer than the models can take, so none is seen entirely by all of them; shorten it, "
            "raise max_length if you set it, or explain by pieces."
        )
    tokens = tuple(written[word] for word in words)
    return _Layout(
        tokens=tokens,
        shown=tuple(map(visible_text, tokens)),
        words=tuple(words),
        segments=tuple(int(word >= first) for word in words),
        special=(False,) * len(words),
        left_out=len(cut),
    )


def _summed(said: ModelExplanation, reading: _Reading, words: Sequence[int | None]) -> ModelExplanation:
    """Return what a model says with its maps over words."""
    maps = (replace(map_, scores=sum_words(map_.scores, reading.encoded.words, words)) for map_ in said.attributions)
    return replace(said, attributions=tuple(maps))


def _softmax(values: Sequence[float]) -> list[float]:
    found: list[float] = torch.tensor(values, dtype=torch.float64).softmax(dim=0).tolist()
    return found


def _token_map(one: Attribution, target: str) -> TokenMap:
    def number(values: torch.Tensor | None) -> float | None:
        value = None if values is None else float(values[0])
        return value if value is not None and math.isfinite(value) else None

    return TokenMap(
        target=target,
        scores=tuple(one.scores[0].tolist()),
        gap=number(one.gap),
        relative_gap=number(one.relative_gap),
        converged=None if one.converged is None else bool(one.converged[0]),
        nodes=None if one.nodes is None else int(one.nodes[0]),
    )


def _map_from_json(text: str, target: str) -> TokenMap:
    """Return a kept map under the name its class has now: another task may name it otherwise."""
    values = json.loads(text)
    return TokenMap(**{**values, "scores": tuple(values["scores"]), "target": target})


def _reading_from_json(text: str) -> _Reading:
    values: dict[str, Any] = json.loads(text)
    parts: dict[str, Any] = {
        name: tuple(part) if isinstance(part, list) else part for name, part in values["encoded"].items()
    }
    return _Reading(Encoded(**parts), tuple(values["labels"]), tuple(values["logits"]), values["limit"])
