"""The Explain page's controls: one line for the text, one for the models and the attribution settings."""

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from distill_core.catalog.catalog import ModelInfo, find_model
from distill_core.config.attribution_methods import ATTRIBUTION_METHODS, BASELINES, AttributionMethodSpec
from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from distill_core.explanation.request import LARGEST_SEED, UNITS
from pages.components.data_sources import unique_titles
from pages.components.explain.session import keyed, popover_keyed, view_of_controls
from pages.components.explain.text_controls import draw_text_controls
from pages.components.explain.view_state import DEFAULT, MOST_STUDENTS, View

_OUTPUTS = {"logit": "Logit", "log_probability": "Log-probability"}


def draw_controls(dataset: Dataset, models: Mapping[str, ModelInfo], source: str, split: str) -> View:
    """Draw all controls and return the view they are set to."""
    chosen = [st.session_state["explain.teacher"], *st.session_state["explain.students"]]
    offered = dict(models) | {model: find_model(model) for model in chosen if model not in models}
    names = model_names(offered)
    draw_text_controls(dataset, source, split, names)
    with st.container(key="controls", horizontal=True, gap="xsmall", vertical_alignment="bottom"):
        _draw_models(names)
        spec = _draw_method()
        labels = get_task(dataset.task).labels
        _draw_target(labels)
        _draw_units(spec)
        words = f"More settings: baseline, explained output{', seed' if spec.seeded else ''}"
        with st.popover(words, icon=":material/tune:", help=words, key="explain.more"):
            _draw_baseline(spec)
            _draw_output(len(labels))
            _draw_seed(spec)
    return view_of_controls(dataset, source, split)


def model_names(models: Mapping[str, ModelInfo]) -> dict[str, str]:
    """Return a name to show for each model id: its title, with the id where two share it."""
    titles = {key: Path(key).name if info.title == key else info.title for key, info in models.items()}
    return unique_titles(titles)


def _draw_models(names: Mapping[str, str]) -> None:
    st.selectbox("Teacher", list(names), format_func=names.__getitem__, width=150, **keyed("teacher"))
    st.multiselect(
        "Students",
        list(names),
        format_func=names.__getitem__,
        max_selections=MOST_STUDENTS,
        select_all=False,
        wrap=True,
        width=354,
        **keyed("students"),
    )


def _draw_method() -> AttributionMethodSpec:
    """Draw the choice of method, with the description of the chosen one as its help, and return its entry."""
    spec = ATTRIBUTION_METHODS[st.session_state["explain.method"]]
    st.selectbox(
        "Method",
        list(ATTRIBUTION_METHODS),
        format_func=lambda key: ATTRIBUTION_METHODS[key].title,
        help=f"{spec.idea}\n\n{spec.limits}",
        width=184,
        **keyed("method"),
    )
    return ATTRIBUTION_METHODS[st.session_state["explain.method"]]


def _draw_target(labels: tuple[str, ...]) -> None:
    """Draw the choice of the class to explain; a regression has one score and no choice."""
    if len(labels) == 1:
        st.session_state["explain.target"] = "pred"
        title, targets = "Score explained", {"pred": labels[0].capitalize()}
    else:
        title = "Class explained"
        targets = {"pred": "Teacher’s prediction", "all": "All classes"} | {name: name for name in labels}
    st.selectbox(title, list(targets), format_func=targets.__getitem__, width=176, **keyed("target"))


def _draw_units(spec: AttributionMethodSpec) -> None:
    """Draw the choice of pieces or words, disabled for a method that scores whole words; the choice is remembered."""
    if spec.by_word:
        st.segmented_control(
            "Scores of", UNITS, default="words", format_func=str.capitalize, disabled=True, key="explain.words_only"
        )
    else:
        st.segmented_control("Scores of", UNITS, format_func=str.capitalize, required=True, **keyed("units"))


def _draw_baseline(spec: AttributionMethodSpec) -> None:
    default = spec.default_baseline
    words = {DEFAULT: f"Default ({default})" if default else "Not used"}
    words |= {name: name.capitalize() for name in BASELINES}
    st.selectbox(
        "Baseline",
        list(words),
        index=list(words).index(st.session_state["explain.baseline"]),
        format_func=words.__getitem__,
        disabled=default is None,
        help="The neutral input that the text is compared with.",
        **popover_keyed("baseline", spec.key),
    )


def _draw_output(classes: int) -> None:
    outputs, words = (
        _OUTPUTS,
        "The logit is the score of one class alone; the log-probability also falls when another class gains.",
    )
    if classes == 1:
        outputs, words = {"logit": "Score"}, "A regression model has one output, the score itself."
        st.session_state["explain.output"] = "logit"
    st.selectbox(
        "Explained output",
        list(outputs),
        index=list(outputs).index(st.session_state["explain.output"]),
        disabled=classes == 1,
        format_func=outputs.__getitem__,
        help=words,
        **popover_keyed("output", *outputs.values()),
    )


def _draw_seed(spec: AttributionMethodSpec) -> None:
    """Draw the seed for a method that samples."""
    if spec.seeded:
        st.number_input(
            "Seed",
            min_value=0,
            max_value=LARGEST_SEED,
            value=st.session_state["explain.seed"],
            step=1,
            help="The method draws random samples. The same seed gives exactly the same map.",
            **popover_keyed("seed"),
        )
