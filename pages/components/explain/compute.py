"""Computes the explanation a page shows, with the open models and the cache that all visitors share."""

import streamlit as st

from distill_core.catalog.catalog import find_model
from distill_core.explanation.explain import explain
from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import Explanation
from pages.components.resources import explanation_cache, model_source


def compute_explanation(request: ExplanationRequest) -> Explanation:
    """Explain a text and show the progress; everything that is cached is not computed again."""
    progress_line = st.empty()

    def show_progress(done: int, total: int) -> None:
        model = "the teacher" if done == 0 else f"student {done}"
        progress_line.caption(f"Computing the map of {model}, {done + 1} of {total} …")

    with st.spinner("Computing the maps of teacher and students …", show_time=True):
        explanation = explain(
            request,
            lambda model: model_source(find_model(model)),
            cache=explanation_cache(),
            progress=show_progress,
        )
    progress_line.empty()
    return explanation
