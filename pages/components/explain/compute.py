"""The explanation a page shows, computed with the open models and the cache that all visitors share."""

import streamlit as st

from distill_core.catalog.catalog import find_model
from distill_core.explanation.explain import explain
from distill_core.explanation.result import Explanation
from pages.components.explain.view_state import DEFAULT, View
from pages.components.resources import explanation_cache, model_source


def explained(view: View) -> Explanation:
    """Explain a view's text through its models; nothing is computed that was looked at before."""
    sources = [model_source(find_model(model)) for model in (view.teacher, *view.students)]
    wait = st.empty()

    def progress(done: int, total: int) -> None:
        who = "the teacher" if done == 0 else f"student {done}"
        wait.caption(f"Computing the map of {who}, {done + 1} of {total} …")

    with st.spinner("Computing the maps of teacher and students …", show_time=True):
        explanation = explain(
            view.task,
            view.text,
            view.text_pair,
            teacher=sources[0],
            students=sources[1:],
            method=view.method,
            target=view.target,
            baseline=None if view.baseline == DEFAULT else view.baseline,
            output=view.output,
            units=view.units,
            cache=explanation_cache(),
            progress=progress,
        )
    wait.empty()
    return explanation
