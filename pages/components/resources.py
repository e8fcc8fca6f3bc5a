"""What all visitors share: open models, examples, predictions, the explanation cache and the run store.

Models are kept by id, weights on disk and device, never by object, and only a few at a time.
"""

from pathlib import Path

import streamlit as st

from distill_core.bundle import open_model, unpack
from distill_core.catalogue import ModelInfo, find_model, list_models
from distill_core.data import Dataset, describe_source, load_split
from distill_core.explanation_cache import ExplanationCache
from distill_core.explanations import ModelSource, predict_all, source_in
from distill_core.models import WEIGHTS, LoadedModel

MODELS_KEPT = 6


def model_source(info: ModelInfo, device: str = "cpu") -> ModelSource:
    """Return a model ready to be asked; its weights are read only if something is not in the cache."""
    with st.spinner(f"Unpacking {info.title} …"):
        path = unpack(info)
    return source_in(info.id, path, lambda: _model(info.id, _stamp(path), device))


def models_of(task: str) -> dict[str, ModelInfo]:
    """Return the models that can be picked for a task, by id."""
    return {model.id: model for model in list_models() if model.task == task}


def examples(task: str) -> Dataset:
    """Return the validation examples of a task from wherever they come now."""
    return _examples(task, describe_source(task))


def predicted(model_id: str, dataset: Dataset) -> tuple[tuple[float, ...], ...]:
    """Return a model's logits for every example, computed once for these weights and examples."""
    source = model_source(find_model(model_id))
    return _predicted(source, dataset, source.fingerprint, dataset.fingerprint)


@st.cache_resource(show_spinner=False)
def explanation_cache() -> ExplanationCache:
    """Return the one cache of explanations on disk."""
    return ExplanationCache()


def _stamp(path: Path) -> tuple[str, int, int]:
    found = (path / WEIGHTS).stat()
    return str(path), found.st_mtime_ns, found.st_size


@st.cache_resource(max_entries=MODELS_KEPT, show_spinner="Loading a model …")
def _model(model_id: str, stamp: tuple[str, int, int], device: str) -> LoadedModel:
    del stamp  # part of the key: weights that changed on disk are another model
    return open_model(model_id, device)


@st.cache_resource(max_entries=4, show_spinner="Reading the sentences …")
def _examples(task: str, source: str) -> Dataset:
    del source  # part of the key: settings may name another source later
    return load_split(task, "validation")


@st.cache_data(max_entries=32, show_spinner=False)
def _predicted(
    _source: ModelSource, _dataset: Dataset, model_fingerprint: str, dataset_fingerprint: str
) -> tuple[tuple[float, ...], ...]:
    del model_fingerprint, dataset_fingerprint  # the key; source and examples are not hashed
    return predict_all(_source, _dataset, cache=explanation_cache())
