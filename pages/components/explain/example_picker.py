"""The dialog that picks an example from a table of all of them, with a search and filters."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from pages.components.page_frame import draw_scroll_hint, errors_shown, escape_markdown
from pages.components.resources import predicted

FILTERS = {
    "all": "All",
    "right": "Teacher right",
    "wrong": "Teacher wrong",
    "disagree": "A student disagrees",
}
SCORE_FILTERS = FILTERS | {  # of a regression; {} is the largest difference that counts as equal
    "right": "Teacher off by at most {:g}",
    "wrong": "Teacher off by more",
    "disagree": "A student differs by more than {:g}",
}
AUTOMATIC_LIMIT = 2000  # the models are run on up to this many examples without a click
ROW_LIMIT = 5000  # rows sent to the browser
Pick = Callable[[Dataset, int, Sequence[int]], None]


@st.dialog("Pick an example", width="large", icon=":material/table_rows:", on_dismiss="rerun")
def pick_sentence(
    dataset: Dataset, teacher: str, students: Sequence[str], names: Mapping[str, str], pick: Pick
) -> None:
    """Open the dialog; `pick(dataset, example, order)` is called with the chosen row and all rows shown."""
    with errors_shown():
        _draw(dataset, teacher, students, names, pick)
    if st.session_state.pop("pick.done", False):
        st.rerun()


def _draw(dataset: Dataset, teacher: str, students: Sequence[str], names: Mapping[str, str], pick: Pick) -> None:
    labels = get_task(dataset.task).labels
    with st.container(horizontal=True):
        search = st.text_input("Search", key="pick.search", persist_state="session", type="search", width=220)
        choices = {"any": "Any", **{name: name for name in labels}}
        label = "any" if get_task(dataset.task).span else _choice("Label", choices, f"pick.label.{dataset.task}")
        near = _near(dataset)
        filters = FILTERS if near is None else {key: words.format(near) for key, words in SCORE_FILTERS.items()}
        kind = _choice("Show", filters, "pick.kind")
    answers = _predictions(dataset, (teacher, *students), names)
    if kind != "all" and not answers:
        st.caption("Run the models to filter by correctness. Until then, all examples are shown.")
        kind = "all"
    rows = matching(dataset, answers, teacher, search or "", label, kind)
    count = len(rows)
    rows = rows[:ROW_LIMIT]
    columns = _texts(dataset, rows)
    table = {
        "No.": [at + 1 for at in rows],
        **columns,
        "Label": [_gold(dataset, at) for at in rows],
    } | {
        f"{names.get(model, model)} predicts": [predictions[at] for at in rows]
        for model, predictions in answers.items()
    }
    draw_scroll_hint()
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
        f"{count:,} of {len(dataset.examples):,} examples"
        + (f", the first {len(rows):,} shown" if count > len(rows) else "")
        + ". Pick one; Previous and Next then step through this list."
    )


def _predictions(dataset: Dataset, models: Sequence[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each model's prediction for every example; for a large data set, nothing until a button is clicked."""
    count, asked = len(dataset.examples), f"pick.asked.{dataset.fingerprint}"
    if count > AUTOMATIC_LIMIT and not st.session_state.get(asked):
        st.button(
            f"Run the models on all {count:,} examples",
            icon=":material/play_arrow:",
            key="pick.ask",
            on_click=lambda: st.session_state.update({asked: True}),
            help="Takes about a minute per 5,000 examples on two CPU cores. Closing this dialog stops it.",
        )
        return {}
    answers = {}
    for model in dict.fromkeys(models):
        bar = st.empty()

        def progress(done: int, total: int, model: str = model, bar: DeltaGenerator = bar) -> None:
            bar.progress(
                done / total, text=escape_markdown(f"Running {names.get(model, model)}: {done:,} of {total:,}")
            )

        answers[model] = answer_names(dataset, model, progress)
        bar.empty()
    return answers


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

    `answers`: each model's predicted class names, one per example, needed unless `kind`, a key of `FILTERS`, is `all`.
    Two scores count as equal if they differ by at most a tenth of their span.
    """
    near = _near(dataset)

    def equal(one: str, other: str) -> bool:
        return one == other if near is None else abs(float(one) - float(other)) <= near

    students = [predictions for model, predictions in answers.items() if model != teacher]

    def fits(at: int, gold: str) -> bool:
        if kind == "all":
            return True
        prediction = answers[teacher][at]
        if kind == "disagree":
            return any(not equal(student[at], prediction) for student in students)
        return gold != "" and equal(prediction, gold) == (kind == "right")

    rows = []
    for at, example in enumerate(dataset.examples):
        gold, text = _gold(dataset, at), f"{example.text}\n{example.text_pair or ''}".casefold()
        if search.casefold() in text and label in ("any", gold) and fits(at, gold):
            rows.append(at)
    return rows


def _near(dataset: Dataset) -> float | None:
    """Return the largest difference at which two scores count as equal, a tenth of their span; None for classes."""
    span = get_task(dataset.task).span
    return None if span is None else (span[1] - span[0]) / 10


def answer_names(dataset: Dataset, model_id: str, progress: Callable[[int, int], None]) -> list[str]:
    """Return the class a model predicts for each example, by name."""
    task = get_task(dataset.task)
    rows = predicted(model_id, dataset, progress)
    return [task.label_name(row[0] if task.span else max(range(len(row)), key=row.__getitem__)) for row in rows]


def _texts(dataset: Dataset, rows: Sequence[int]) -> dict[str, list[str]]:
    """Return the texts of some examples, one list per column of the task."""
    names = get_task(dataset.task).text_titles
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
