"""The window in which a sentence is picked: a table of all of them, searched and filtered."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from distill_core.data import Dataset
from distill_core.tasks import get_task
from pages.components.frame import errors_shown, plain
from pages.components.resources import predicted

FILTERS = {
    "all": "All",
    "right": "Teacher right",
    "wrong": "Teacher wrong",
    "disagree": "A student disagrees",
}
Pick = Callable[[Dataset, int, Sequence[int]], None]


@st.dialog("Pick a sentence", width="large", icon=":material/table_rows:")
def pick_sentence(
    dataset: Dataset, teacher: str, students: Sequence[str], names: Mapping[str, str], pick: Pick
) -> None:
    """Open the window; `pick(dataset, example, order)` is called with the chosen row and all rows shown."""
    with errors_shown():
        _draw(dataset, teacher, students, names, pick)
    if st.session_state.pop("pick.done", False):
        st.rerun()


def _draw(dataset: Dataset, teacher: str, students: Sequence[str], names: Mapping[str, str], pick: Pick) -> None:
    labels = get_task(dataset.task).labels
    with st.container(horizontal=True):
        search = st.text_input("Containing", key="pick.search", persist_state="session", type="search", width=220)
        label = _choice("Labelled", {"any": "Any", **{name: name for name in labels}}, "pick.label")
        kind = _choice("Show", FILTERS, "pick.kind")
    answers = {}
    for model in dict.fromkeys((teacher, *students)):
        words = f"Asking {names.get(model, model)} about {len(dataset.examples)} sentences …"
        with st.spinner(plain(words), show_time=True):
            answers[model] = answer_names(dataset, model)
    rows = matching(dataset, answers, teacher, search or "", label, kind)
    table = {
        "No.": [at + 1 for at in rows],
        "Sentence": [dataset.examples[at].text for at in rows],
        "Label": [_gold(dataset, at) for at in rows],
    } | {f"{names.get(model, model)} says": [found[at] for at in rows] for model, found in answers.items()}
    st.dataframe(
        table,
        hide_index=True,
        height=420,
        column_config={
            "No.": st.column_config.NumberColumn(width=60),
            "Sentence": st.column_config.TextColumn(width=520),
        },
        key="pick.table",
        on_select=lambda: _choose(dataset, rows, pick),
        selection_mode=("single-row", "single-cell"),
    )
    st.caption(
        f"{len(rows)} of {len(dataset.examples)} sentences. Pick one; previous and next then walk through these."
    )


def _choice(label: str, options: Mapping[str, str], key: str) -> str:
    st.session_state.setdefault(key, next(iter(options)))
    chosen = st.segmented_control(
        label,
        list(options),
        format_func=options.__getitem__,
        required=True,
        key=key,
        wrap=True,
        persist_state="session",
    )
    return chosen or next(iter(options))


def matching(
    dataset: Dataset, answers: Mapping[str, Sequence[str]], teacher: str, search: str, label: str, kind: str
) -> list[int]:
    """Return the numbers of the examples that pass every filter, in order.

    `answers`: each model's predicted class names, one an example; `kind`: a key of `FILTERS`.
    """
    others = [found for model, found in answers.items() if model != teacher]
    rows = []
    for at, example in enumerate(dataset.examples):
        told, gold = answers[teacher][at], _gold(dataset, at)
        fits = {
            "all": True,
            "right": told == gold,
            "wrong": gold != "" and told != gold,
            "disagree": any(found[at] != told for found in others),
        }[kind]
        if fits and search.casefold() in example.text.casefold() and label in ("any", gold):
            rows.append(at)
    return rows


def answer_names(dataset: Dataset, model_id: str) -> list[str]:
    """Return the class a model predicts for each example, by name."""
    labels = get_task(dataset.task).labels
    return [labels[max(range(len(logits)), key=logits.__getitem__)] for logits in predicted(model_id, dataset)]


def _gold(dataset: Dataset, at: int) -> str:
    label = dataset.examples[at].label
    return "" if label is None else get_task(dataset.task).labels[label]


def _choose(dataset: Dataset, rows: Sequence[int], pick: Pick) -> None:
    selection = st.session_state["pick.table"].selection
    chosen = [*selection.rows, *(row for row, _ in selection.cells)]
    if chosen:
        pick(dataset, rows[chosen[0]], rows)
        st.session_state["pick.done"] = True
