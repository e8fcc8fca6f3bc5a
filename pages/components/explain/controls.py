"""The explain page's controls, and the bargain between them and the page's address.

The address wins when it changed by itself (a link, the back button); the controls win when one of them
was just used. Each control's value is in the visitor's own session state under a key of its own.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from distill_core.attribution import ATTRIBUTION_METHODS, BASELINES
from distill_core.catalog.catalog import ModelInfo, find_model
from distill_core.data.datasets import Dataset, list_splits
from distill_core.data.tasks import TASKS, get_task
from distill_core.explanation.result import UNITS
from pages.components.data_sources import HUB, source_for, source_titles, split_title, unique_titles
from pages.components.dataset_dialog import draw_add_data_button
from pages.components.explain.example_picker import pick_sentence
from pages.components.explain.view_state import (
    DEFAULT,
    FIRST_SPLIT,
    MOST_STUDENTS,
    View,
    from_address,
    source_in,
    to_address,
)
from pages.components.page_frame import escape_markdown
from pages.components.resources import task_models

_FIELDS = ("text", "text_pair", "example", "teacher", "students", "method", "target", "baseline", "output", "units")
_OUTPUTS = {"logit": "Logit", "log_probability": "Log-probability"}
HUB_ALLOWED = "explain.hub"  # whether this visitor chose to read from the hub
_SHOWN, _TOUCHED, _ORDER = "explain.address", "explain.touched", "explain.order"


def asked() -> dict[str, list[str]]:
    """Return the page's address; where it says nothing, the last one shown: a visitor comes back to it."""
    address = {name: st.query_params.get_all(name) for name in st.query_params}
    return address or st.session_state.get(_SHOWN, {})


def settle(first: View, dataset: Dataset) -> None:
    """Bring controls and address together before any control is drawn; ConfigError for an address that is wrong."""
    address = asked()
    touched = st.session_state.pop(_TOUCHED, False)
    begun = all(f"explain.{name}" in st.session_state for name in _FIELDS)  # not when a source was just picked
    if begun and (touched or address == st.session_state.get(_SHOWN)):
        return
    view = from_address(address, first, dataset)
    for name in _FIELDS:
        value = getattr(view, name)
        st.session_state[f"explain.{name}"] = list(value) if name == "students" else value


def publish(view: View) -> None:
    """Put the view into the page's address."""
    address = to_address(view)
    st.session_state[_SHOWN] = {name: [value] if isinstance(value, str) else value for name, value in address.items()}
    if {name: st.query_params.get_all(name) for name in st.query_params} != st.session_state[_SHOWN]:
        st.query_params.from_dict(address)


def go_to(view: View) -> None:
    """Draw the page anew with another view than its controls made."""
    st.query_params.from_dict(to_address(view))
    st.rerun()


def forget() -> None:
    """Drop address and controls, so that the page begins anew."""
    st.query_params.clear()
    for key in [key for key in st.session_state if str(key).startswith("explain.")]:
        del st.session_state[key]


def controls(dataset: Dataset, models: Mapping[str, ModelInfo], source: str, split: str) -> View:
    """Draw sentence and settings, each in one line where there is room, and return the view they make."""
    chosen = [st.session_state["explain.teacher"], *st.session_state["explain.students"]]
    known = dict(models) | {model: find_model(model) for model in chosen if model not in models}
    names = model_names(known)
    task = dataset.task
    _sentence_line(dataset, source, split, names)
    with st.container(key="controls", horizontal=True, gap="xsmall", vertical_alignment="bottom"):
        st.selectbox("Teacher", list(known), format_func=names.__getitem__, width=150, **_keyed("teacher"))
        st.multiselect(
            "Students",
            list(known),
            format_func=names.__getitem__,
            max_selections=MOST_STUDENTS,
            select_all=False,
            wrap=True,
            width=354,
            **_keyed("students"),
        )
        st.selectbox(
            "Method",
            list(ATTRIBUTION_METHODS),
            format_func=lambda key: ATTRIBUTION_METHODS[key].title,
            width=184,
            **_keyed("method"),
        )
        labels = get_task(task).labels
        targets = {"pred": "Teacher’s answer", "all": "All classes"} | {name: name for name in labels}
        if len(labels) == 1:
            targets = {"pred": labels[0].capitalize()}
            st.session_state["explain.target"] = "pred"
        words = "Class explained" if len(labels) > 1 else "Score explained"
        st.selectbox(words, list(targets), format_func=targets.__getitem__, width=176, **_keyed("target"))
        _units()
        with st.popover("", icon=":material/tune:", help="Baseline and output of the attribution"):
            _baseline()
            _output(len(labels))
    values = {name: st.session_state[f"explain.{name}"] for name in _FIELDS}
    view = View(task, **values | {"students": tuple(values["students"]), "source": source, "split": split})
    return view if view.picked(dataset) else replace(view, example=None)


def model_names(models: Mapping[str, ModelInfo]) -> dict[str, str]:
    """Return a name to show for each model id: its title, with the id where two share it."""
    titles = {key: Path(key).name if info.title == key else info.title for key, info in models.items()}
    return unique_titles(titles)


def _sentence_line(dataset: Dataset, source: str, split: str, names: Mapping[str, str]) -> None:
    task, titles = dataset.task, get_task(dataset.task).text_titles
    with st.container(key="sentence", horizontal=True, gap="small"):
        st.session_state["explain.task"] = task
        st.selectbox(
            "Task",
            [name for name in TASKS if name == task or task_models(name)],
            format_func=lambda name: TASKS[name].short_title,
            label_visibility="collapsed",
            width=104,
            key="explain.task",
            on_change=_change_task,
        )
        with st.container(key="texts", gap="xsmall"):
            for title, name in zip(titles, ("text", "text_pair"), strict=False):
                st.text_input(
                    title, label_visibility="collapsed", placeholder=f"Type the {title.lower()}", **_keyed(name)
                )
        for icon, step, words in (
            ("chevron_left", -1, "Previous sentence"),
            ("chevron_right", 1, "Next sentence"),
            ("shuffle", 0, "Random sentence"),
        ):
            key = f"explain.step.{icon}"
            st.button("", icon=f":material/{icon}:", help=words, key=key, on_click=_step, args=(dataset, step))
        if st.button(
            "Browse", icon=":material/table_rows:", help="Search and filter all sentences", key="explain.browse"
        ):
            teacher, students = st.session_state["explain.teacher"], st.session_state["explain.students"]
            pick_sentence(dataset, teacher, students, names, _pick)
        with st.popover("", icon=":material/database:", help="Where the sentences come from"):
            _sources(dataset, source, split)


def _sources(dataset: Dataset, source: str, split: str) -> None:
    """Draw the choice of where the sentences come from, and the way to add one's own."""
    titles = source_titles(dataset.task, source)
    key = f"explain.source.{source}"  # of its own: a closed popover would go on sending what it last held
    st.selectbox(
        "Sentences from",
        list(titles),
        index=list(titles).index(source),
        format_func=lambda option: titles.get(option, option),
        accept_new_options=True,
        help="Type the path of a folder to read GLUE from it. The hub is asked only if you choose it.",
        key=key,
        on_change=_change_source,
        args=(key,),
    )
    splits = list_splits(dataset.task, source)
    key = f"explain.split.{source}.{split}"
    st.segmented_control(
        "Split",
        splits,
        default=split if split in splits else splits[0],
        format_func=split_title,
        required=True,
        key=key,
        on_change=_change_split,
        args=(source, key),
    )
    use = "to train on" if dataset.split == "train" else "held out for validation" if dataset.labelled else "to look at"
    st.caption(f"{escape_markdown(dataset.source)}: {len(dataset.examples):,} {use}.")
    draw_add_data_button(dataset.task, _use)


def _units() -> None:
    """Draw the choice of pieces or words; a method that scores words only leaves none, and the choice as it was."""
    if ATTRIBUTION_METHODS[st.session_state["explain.method"]].by_word:
        words = UNITS[-1]
        st.segmented_control(
            "Scores of", UNITS, default=words, format_func=str.capitalize, disabled=True, key="explain.words_only"
        )
    else:
        st.segmented_control("Scores of", UNITS, format_func=str.capitalize, required=True, **_keyed("units"))


def _baseline() -> None:
    default = ATTRIBUTION_METHODS[st.session_state["explain.method"]].default_baseline
    words = {DEFAULT: f"Default ({default})" if default else "None needed"}
    words |= {name: name.capitalize() for name in BASELINES}
    st.selectbox(
        "Baseline",
        list(words),
        format_func=words.__getitem__,
        disabled=default is None,
        help="The input without information that the sentence is compared with; gradients need none.",
        **_keyed("baseline"),
    )


def _output(classes: int) -> None:
    outputs, words = _OUTPUTS, "The class’s logit stands for itself; its log-probability also falls when another gains."
    if classes == 1:
        outputs, words = {"logit": "Score"}, "The model’s one output, the score itself, is explained."
        st.session_state["explain.output"] = "logit"
    st.selectbox(
        "Explained output",
        list(outputs),
        disabled=classes == 1,
        format_func=outputs.__getitem__,
        help=words,
        **_keyed("output"),
    )


def _keyed(name: str) -> dict[str, Any]:
    """Return the arguments that tie a control to its state, kept while other pages are looked at."""
    return {"key": f"explain.{name}", "on_change": _touch, "persist_state": "session"}


def _change_task() -> None:
    """Begin anew with another task, keeping how maps are made."""
    task = st.session_state["explain.task"]
    source = source_for(task, source_in(asked()))
    kept = {name: st.session_state[f"explain.{name}"] for name in ("method", "baseline", "units")}
    if st.session_state["explain.target"] == "all":
        kept["target"] = "all"
    for name in ("text", "text_pair", "example", "teacher", "students", "target", "order"):
        st.session_state.pop(f"explain.{name}", None)
    st.query_params.from_dict({"task": task, "source": source} | kept)


def _change_source(key: str) -> None:
    """Go on with the source that was picked; one that was emptied stays as it was."""
    _use(st.session_state[key] or source_in(asked()))


def _change_split(source: str, key: str) -> None:
    """Go on with the split that was picked."""
    _use(source, st.session_state[key])


def _use(source: str, split: str = FIRST_SPLIT) -> None:
    """Show the first sentence of a source, all else as it is; choosing the hub allows to ask it."""
    st.session_state[HUB_ALLOWED] = source == HUB
    other = ("text", "text_pair", "example", "source", "split")
    shown = {name: value for name, value in asked().items() if name not in other}
    for name in ("text", "text_pair", "example", "order"):
        st.session_state.pop(f"explain.{name}", None)
    st.query_params.from_dict(shown | {"source": source, "split": split})


def _touch() -> None:
    st.session_state[_TOUCHED] = True


def _pick(dataset: Dataset, example: int, order: Sequence[int] | None = None) -> None:
    """Show an example; `order`: the sentences that previous, next and random walk through from now on."""
    st.session_state["explain.example"] = example
    st.session_state["explain.text"] = dataset.examples[example].text
    st.session_state["explain.text_pair"] = dataset.examples[example].text_pair
    if order is not None:
        st.session_state[_ORDER] = tuple(order)
    _touch()


def _step(dataset: Dataset, step: int) -> None:
    order = [at for at in st.session_state.get(_ORDER, ()) if at < len(dataset.examples)]
    order = order or list(range(len(dataset.examples)))
    current = st.session_state.get("explain.example")  # none where the source was changed by the same click
    if step == 0:
        _pick(dataset, random.choice([at for at in order if at != current] or order))
    else:
        at = order.index(current) + step if current in order else 0
        _pick(dataset, order[at % len(order)])
