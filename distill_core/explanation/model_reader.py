"""One model and one text: its tokens, logits and maps, from the cache or by opening the model."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from distill_core.attribution import Attribution, attribute_each
from distill_core.attribution.reduce import word_numbers
from distill_core.errors import ModelError
from distill_core.explanation.cache import ExplanationCache, cache_key
from distill_core.explanation.lazy_model import LazyModel
from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import ModelExplanation, TokenMap
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Encoded, collate, encode, written_words

ENGINE = 6  # part of every cache key: raise it when the tokens of a text change or the numbers of every method


@dataclass(frozen=True)
class Reading:
    """A model's tokens of the text and its logits; `limit` is the largest number of tokens it can read."""

    encoded: Encoded
    labels: tuple[str, ...]
    logits: tuple[float, ...]
    limit: int


class ModelReader:
    """Reads and explains a request's text with one model; opens the model only when the cache lacks something.

    New results are returned as computed and written to the cache as JSON; a later call returns equal values.
    """

    def __init__(self, model: LazyModel, request: ExplanationRequest, cache: ExplanationCache | None) -> None:
        self.id = model.id
        self._lazy = model
        self._request = request
        self._cache = cache
        self._opened: LoadedModel | None = None

    def read(self, max_length: int | None) -> Reading:
        """Return the tokens of the text, cut to `max_length` or the model's limit, and the logits."""
        texts = (self._request.text, self._request.text_pair)
        key = cache_key(ENGINE, self._lazy.fingerprint, "reading", *texts, max_length)
        cached = self._cached([key])
        if key in cached:
            return _reading_from_json(cached[key])
        model = self._open()
        length = model.max_length if max_length is None else min(max_length, model.max_length)
        encoded = encode(model.tokenizer, *texts, max_length=length)
        with torch.no_grad():
            inputs = collate([encoded], model.pad_id).to(model.device)
            values = tuple(logits(model.network, inputs)[0].tolist())
        if not all(map(math.isfinite, values)):
            raise ModelError(f"Model {self.id}: its logits are not finite, so its weights are damaged; add it again.")
        reading = Reading(encoded, model.labels, values, model.max_length)
        self._store({key: json.dumps(asdict(reading))})
        return reading

    def explain(self, reading: Reading, classes: Sequence[int]) -> ModelExplanation:
        """Return the model's prediction and its maps, one per class; computes only the maps that are not cached."""
        maps = self._maps(reading, classes)
        if len(reading.labels) == 1:
            probabilities: list[float] = []
            prediction = f"{reading.logits[0]:.2f}"
        else:
            probabilities = torch.tensor(reading.logits, dtype=torch.float64).softmax(dim=0).tolist()
            prediction = reading.labels[probabilities.index(max(probabilities))]
        written = written_words(self._request.text, self._request.text_pair)
        return ModelExplanation(
            id=self.id,
            labels=reading.labels,
            logits=reading.logits,
            probabilities=tuple(probabilities),
            prediction=prediction,
            attributions=tuple(maps[index] for index in classes),
            unread=tuple(written[word] for word in reading.encoded.unread),
            cached=self._opened is None,
        )

    def _maps(self, reading: Reading, classes: Sequence[int]) -> dict[int, TokenMap]:
        """Return the map of every class, by its index."""
        encoded, settings = reading.encoded, self._request.map_settings()
        base = (ENGINE, self._lazy.fingerprint, "map", encoded.ids, encoded.types, encoded.words, *settings)
        keys = {index: cache_key(*base, index) for index in classes}
        cached = self._cached(list(keys.values()))
        # Another task may have cached the map under its own name of the class.
        maps = {
            index: _map_from_json(cached[key], reading.labels[index]) for index, key in keys.items() if key in cached
        }
        missing = [index for index in keys if index not in maps]
        if missing:
            computed = dict(zip(missing, self._compute(reading, missing), strict=True))
            self._store({keys[index]: json.dumps(asdict(map_)) for index, map_ in computed.items()})
            maps |= computed
        return maps

    def _compute(self, reading: Reading, classes: Sequence[int]) -> list[TokenMap]:
        model, request = self._open(), self._request
        attributions = attribute_each(
            request.method,
            model,
            collate([reading.encoded], model.pad_id),
            torch.tensor([list(classes)]),  # (1, K)
            baseline=request.baseline,
            output=request.output,
            words=word_numbers([reading.encoded]),
            seed=request.seed,
        )
        return [_token_map(one, reading.labels[index]) for one, index in zip(attributions, classes, strict=True)]

    def _open(self) -> LoadedModel:
        if self._opened is None:
            self._opened = self._lazy.open()
        return self._opened

    def _cached(self, keys: list[str]) -> dict[str, str]:
        return self._cache.get(keys) if self._cache else {}

    def _store(self, texts: Mapping[str, str]) -> None:
        if self._cache:
            self._cache.put(texts)


def _token_map(one: Attribution, target: str) -> TokenMap:
    """Return the first example's map; a number that is not finite becomes None, as JSON has none."""

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
        sampling_error=number(one.sampling_error),
    )


def _map_from_json(text: str, target: str) -> TokenMap:
    values = json.loads(text)
    return TokenMap(**{**values, "scores": tuple(values["scores"]), "target": target})


def _reading_from_json(text: str) -> Reading:
    values: dict[str, Any] = json.loads(text)
    parts: dict[str, Any] = {
        name: tuple(part) if isinstance(part, list) else part for name, part in values["encoded"].items()
    }
    return Reading(Encoded(**parts), tuple(values["labels"]), tuple(values["logits"]), values["limit"])
