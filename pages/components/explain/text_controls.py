"""The controls for the text: task, the text itself, previous, next and random, browsing, and the data set."""

import random
from collections.abc import Mapping, Sequence

import streamlit as st

from distill_core.data.datasets import Dataset, list_splits
from distill_core.data.tasks import TASKS, get_task
from pages.components.data_sources import HUB, source_for, source_titles, split_title
from pages.components.dataset_dialog import draw_add_data_button
from pages.components.explain.example_picker import pick_sentence
from pages.components.explain.session import HUB_ALLOWED, current_address, keyed, mark_touched
from pages.components.explain.view_state import FIRST_SPLIT, source_in
from pages.components.page_frame import escape_markdown
from pages.components.resources import task_models

_ORDER = "explain.order"  # indices of the examples that previous, next and random walk through
_DRAWN = "explain.drawn"  # source and split of the controls drawn last
_STEPS = (
    ("chevron_left", -1, "Previous sentence"),
    ("chevron_right", 1, "Next sentence"),
    ("shuffle", 0, "Random sentence"),
)


def draw_text_controls(dataset: Dataset, source: str, split: str, names: Mapping[str, str]) -> None:
    """Draw one line of controls; `names`: a name to show for each model id."""
    task, titles = dataset.task, get_task(dataset.task).text_titles
    with st.container(key="sentence", horizontal=True, gap="small", vertical_alignment="bottom"):
        st.session_state["explain.task"] = task
        st.selectbox(
            "Task",
            [name for name in TASKS if name == task or task_models(name)],
            format_func=lambda name: TASKS[name].short_title,
            width=104,
            key="explain.task",
            on_change=_change_task,
        )
        with st.container(key="texts", gap="xsmall"):
            for title, name in zip(titles, ("text", "text_pair"), strict=False):
                st.text_input(title, placeholder=f"Type the {title.lower()}", **keyed(name))
        for icon, step, words in _STEPS:
            key = f"explain.step.{icon}"
            st.button(words, icon=f":material/{icon}:", help=words, key=key, on_click=_step, args=(dataset, step))
        if st.button(
            "Browse", icon=":material/table_rows:", help="Search and filter all examples", key="explain.browse"
        ):
            teacher, students = st.session_state["explain.teacher"], st.session_state["explain.students"]
            pick_sentence(dataset, teacher, students, names, _pick)
        words = "Choose where the sentences come from"
        with st.popover(words, icon=":material/database:", help=words, key="explain.sources"):
            _draw_sources(dataset, source, split)


def _draw_sources(dataset: Dataset, source: str, split: str) -> None:
    """Draw the choice of data set and split, and the button to add one's own data."""
    titles = source_titles(dataset.task, source)
    drawn = st.session_state[_DRAWN] = (source, split)
    key = f"explain.source.{source}"  # one a source: a closed popover keeps sending the value it last had
    st.selectbox(
        "Sentences from",
        list(titles),
        index=list(titles).index(source),
        format_func=lambda option: titles.get(option, option),
        accept_new_options=True,
        help="To read GLUE from a folder, type its path. The hub is contacted only if you choose it.",
        key=key,
        on_change=_change_source,
        args=(drawn, key),
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
        args=(drawn, key),
    )
    use = "for training" if dataset.split == "train" else "for validation" if dataset.labelled else "without labels"
    st.caption(f"{escape_markdown(dataset.source)}: {len(dataset.examples):,} examples {use}.")
    draw_add_data_button(dataset.task, _use_source)


def _change_task() -> None:
    """Show another task and keep the attribution settings."""
    task = st.session_state["explain.task"]
    source = source_for(task, source_in(current_address()))
    parameters = {name: str(st.session_state[f"explain.{name}"]) for name in ("method", "baseline", "units")}
    if st.session_state["explain.target"] == "all":
        parameters["target"] = "all"
    for name in ("text", "text_pair", "example", "teacher", "students", "target", "order"):
        st.session_state.pop(f"explain.{name}", None)
    st.query_params.from_dict({"task": task, "source": source} | parameters)


def _change_source(drawn: tuple[str, str], key: str) -> None:
    """Use the source that was picked; keep the current one where the field was emptied."""
    if _is_current(drawn):
        _use_source(st.session_state[key] or source_in(current_address()))


def _change_split(drawn: tuple[str, str], key: str) -> None:
    """Use the split that was picked."""
    if _is_current(drawn):
        _use_source(drawn[0], st.session_state[key])


def _is_current(drawn: tuple[str, str]) -> bool:
    """Return whether a control is of the page drawn last.

    A click right after a change of source still carries the values of the former controls, which the browser drops only
    once it has drawn the new page. Streamlit has forgotten them by then, takes them for changed and calls back.
    """
    return bool(st.session_state.get(_DRAWN) == drawn)


def _use_source(source: str, split: str = FIRST_SPLIT) -> None:
    """Show the first example of a source and keep everything else; choosing the hub allows reading from it."""
    st.session_state[HUB_ALLOWED] = source == HUB
    dropped = ("text", "text_pair", "example", "source", "split")
    parameters = {name: value for name, value in current_address().items() if name not in dropped}
    for name in ("text", "text_pair", "example", "order"):
        st.session_state.pop(f"explain.{name}", None)
    st.query_params.from_dict(parameters | {"source": source, "split": split})


def _pick(dataset: Dataset, example: int, order: Sequence[int] | None = None) -> None:
    """Show an example; `order`: the examples that previous, next and random walk through from now on."""
    st.session_state["explain.example"] = example
    st.session_state["explain.text"] = dataset.examples[example].text
    st.session_state["explain.text_pair"] = dataset.examples[example].text_pair
    if order is not None:
        st.session_state[_ORDER] = tuple(order)
    mark_touched()


def _step(dataset: Dataset, step: int) -> None:
    """Show the example `step` places further in the order, a random one for 0."""
    order = [index for index in st.session_state.get(_ORDER, ()) if index < len(dataset.examples)]
    order = order or list(range(len(dataset.examples)))
    current = st.session_state.get("explain.example")  # None where the same click changed the source
    if step == 0:
        _pick(dataset, random.choice([index for index in order if index != current] or order))
    else:
        place = order.index(current) + step if current in order else 0
        _pick(dataset, order[place % len(order)])
