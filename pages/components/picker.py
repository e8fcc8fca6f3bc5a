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
        choices = {"any": "Any", **{name: name for name in labels}}
        label = "any" if get_task(dataset.task).span else _choice("Labelled", choices, f"pick.label.{dataset.task}")
        kind = _choice("Show", FILTERS, "pick.kind")
    answers = {}
    for model in dict.fromkeys((teacher, *students)):
        words = f"Asking {names.get(model, model)} about {len(dataset.examples)} sentences …"
        with st.spinner(plain(words), show_time=True):
            answers[model] = answer_names(dataset, model)
    rows = matching(dataset, answers, teacher, search or "", label, kind)
    columns = _texts(dataset, rows)
    table = {
        "No.": [at + 1 for at in rows],
        **columns,
        "Label": [_gold(dataset, at) for at in rows],
    } | {f"{names.get(model, model)} says": [found[at] for at in rows] for model, found in answers.items()}
    st.dataframe(
        table,
        hide_index=True,
        height=420,
        column_config={
            "No.": st.column_config.NumberColumn(width=60),
            **{name: st.column_config.TextColumn(width=520 // len(columns)) for name in columns},
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

    `answers`: each model's predicted class names, one an example; `kind`: a key of `FILTERS`. Scores count as
    the same within a tenth of their span.
    """
    span = get_task(dataset.task).span
    near = None if span is None else (span[1] - span[0]) / 10

    def alike(one: str, other: str) -> bool:
        return one == other if near is None else abs(float(one) - float(other)) <= near

    others = [found for model, found in answers.items() if model != teacher]
    rows = []
    for at, example in enumerate(dataset.examples):
        told, gold = answers[teacher][at], _gold(dataset, at)
        fits = {
            "all": True,
            "right": gold != "" and alike(told, gold),
            "wrong": gold != "" and not alike(told, gold),
            "disagree": any(not alike(found[at], told) for found in others),
        }[kind]
        text = f"{example.text}\n{example.text_pair or ''}".casefold()
        if fits and search.casefold() in text and label in ("any", gold):
            rows.append(at)
    return rows


def answer_names(dataset: Dataset, model_id: str) -> list[str]:
    """Return the class a model predicts for each example, by name."""
    task = get_task(dataset.task)
    rows = predicted(model_id, dataset)
    return [task.label_name(row[0] if task.span else max(range(len(row)), key=row.__getitem__)) for row in rows]


def _texts(dataset: Dataset, rows: Sequence[int]) -> dict[str, list[str]]:
    """Return the texts of some examples, one list a column of the task."""
    names = [name.capitalize() for name in get_task(dataset.task).columns]
    texts = [(dataset.examples[at].text, dataset.examples[at].text_pair or "") for at in rows]
    return {name: [row[place] for row in texts] for place, name in enumerate(names)}


def _gold(dataset: Dataset, at: int) -> str:
    label = dataset.examples[at].label
    return "" if label is None else get_task(dataset.task).label_name(label)


def _choose(dataset: Dataset, rows: Sequence[int], pick: Pick) -> None:
    selection = st.session_state["pick.table"].selection
    chosen = [*selection.rows, *(row for row, _ in selection.cells)]
    if chosen:
        pick(dataset, rows[chosen[0]], rows)
        st.session_state["pick.done"] = True
