"""What all sessions share: open models, examples, predictions, the explanation cache and the run store.

Open models are cached by id, fingerprint and device, never by object, up to the memory limit in the settings. Torch is
imported inside the functions that need it, so that a page that only shows runs opens without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from distill_core.catalog.catalog import ModelInfo, find_model, list_models
from distill_core.data.datasets import Dataset, describe_source, load_split
from distill_core.errors import StoreError
from distill_core.paths import home
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker
from pages.components.page_frame import escape_markdown

if TYPE_CHECKING:
    from distill_core.explanation.cache import ExplanationCache
    from distill_core.explanation.lazy_model import LazyModel
    from distill_core.models.encoder import LoadedModel
    from distill_core.models.model_cache import ModelCache


def run_store() -> Store:
    """Return the run store, one object for all sessions: it opens a connection for each use.

    A store whose file is missing or damaged is opened again, which moves a damaged file aside.
    """
    path = home() / "runs.sqlite"
    store = _run_store(path)
    if not store.usable:
        _run_store.clear(path)
        store = _run_store(path)
    return store


def running_runs() -> list[Run]:
    """Return the runs that have a live worker process; none where the store cannot be read, which Runs reports."""
    try:
        return [run for run in run_store().runs(("running",)) if find_worker(run) is not None]
    except StoreError:
        return []


def task_models(task: str) -> dict[str, ModelInfo]:
    """Return the models of a task by id."""
    return {model.id: model for model in list_models() if model.task == task}


def examples(task: str, source: str = "auto", split: str = "validation") -> Dataset:
    """Return the examples of a task from a source; DataError if it is missing or cannot be read."""
    where = describe_source(task, source)
    with st.spinner(escape_markdown(f"Reading the sentences: {where} …")):
        return _examples(task, source, split, where)


def model_source(info: ModelInfo, device: str = "cpu") -> LazyModel:
    """Return a model whose weights are read only if a result is not in the cache."""
    from distill_core.explanation.lazy_model import lazy_model_in
    from distill_core.models.bundle import unpack

    with st.spinner(f"Preparing {escape_markdown(info.title)} …"):
        path = unpack(info)
        return lazy_model_in(path, info.id, lambda: _open(info, path, device), explanation_cache())


def predicted(model_id: str, dataset: Dataset, progress: Callable[[int, int], None]) -> tuple[tuple[float, ...], ...]:
    """Return a model's logits for every example, computed once for these weights and examples.

    `progress(done, total)` is called between batches; a page that draws in it can be interrupted at any batch.
    """
    from distill_core.explanation.explain import predict_all

    return predict_all(model_source(find_model(model_id)), dataset, cache=explanation_cache(), progress=progress)


def explanation_cache() -> ExplanationCache:
    """Return the explanation cache on disk, one object for all sessions."""
    return _explanation_cache(home() / "explanations.sqlite")


@st.cache_resource(max_entries=4, show_spinner=False)
def _run_store(path: Path) -> Store:
    return Store(path)


@st.cache_resource(max_entries=4, show_spinner=False)
def _explanation_cache(path: Path) -> ExplanationCache:
    from distill_core.explanation.cache import ExplanationCache

    return ExplanationCache(path)


def _open(info: ModelInfo, path: Path, device: str) -> LoadedModel:
    from distill_core.explanation.cache import folder_fingerprint
    from distill_core.models.bundle import open_model

    with st.spinner("Loading a model …"):
        key = (
            info.id,
            folder_fingerprint(path, explanation_cache()),
            device,
        )  # reopens a model changed on disk
        return open_models().get(key, path, lambda: open_model(info.id, device))


@st.cache_resource(show_spinner=False)
def open_models() -> ModelCache:
    """Return the cache of open models, shared by all sessions."""
    from distill_core.models.model_cache import ModelCache

    return ModelCache()


@st.cache_resource(max_entries=4, show_spinner=False)
def _examples(task: str, source: str, split: str, where: str) -> Dataset:
    del where  # part of the cache key: what `auto` resolves to may change
    return load_split(task, split, source)
