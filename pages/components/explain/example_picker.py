"""The window in which a sentence is picked: a table of all of them, searched and filtered."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from pages.components.page_frame import errors_shown, escape_markdown
from pages.components.resources import predicted

FILTERS = {
    "all": "All",
    "right": "Teacher right",
    "wrong": "Teacher wrong",
    "disagree": "A student disagrees",
}
SCORE_FILTERS = FILTERS | {  # of a regression, {} being how near counts as the same
    "right": "Teacher within {:g}",
    "wrong": "Teacher further off",
    "disagree": "A student further than {:g} from the teacher",
}
ASKED_AT_ONCE = 2000  # examples that the models are asked about without being told to
SHOWN_AT_ONCE = 5000  # rows sent to the browser
Pick = Callable[[Dataset, int, Sequence[int]], None]


@st.dialog("Pick an example", width="large", icon=":material/table_rows:", on_dismiss="rerun")
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
        near = _near(dataset)
        filters = FILTERS if near is None else {key: words.format(near) for key, words in SCORE_FILTERS.items()}
        kind = _choice("Show", filters, "pick.kind")
    answers = _answers(dataset, (teacher, *students), names)
    if kind != "all" and not answers:
        st.caption("Who is right can be told once the models are asked; until then all are shown.")
        kind = "all"
    rows = matching(dataset, answers, teacher, search or "", label, kind)
    found = len(rows)
    rows = rows[:SHOWN_AT_ONCE]
    columns = _texts(dataset, rows)
    table = {
        "No.": [at + 1 for at in rows],
        **columns,
        "Label": [_gold(dataset, at) for at in rows],
    } | {f"{names.get(model, model)} says": [said[at] for at in rows] for model, said in answers.items()}
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
        f"{found:,} of {len(dataset.examples):,}"
        + (f", the first {len(rows):,} shown" if found > len(rows) else "")
        + ". Pick one; previous and next then walk through these."
    )


def _answers(dataset: Dataset, models: Sequence[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what each model says of every example; of many examples only when told to ask, nothing until then."""
    count, asked = len(dataset.examples), f"pick.asked.{dataset.fingerprint}"
    if count > ASKED_AT_ONCE and not st.session_state.get(asked):
        st.button(
            f"Ask the models about all {count:,}",
            icon=":material/forum:",
            key="pick.ask",
            on_click=lambda: st.session_state.update({asked: True}),
            help="Takes about a minute for every 5,000 on two CPU cores; closing this window ends it.",
        )
        return {}
    answers = {}
    for model in dict.fromkeys(models):
        bar = st.empty()

        def progress(done: int, total: int, model: str = model, bar: DeltaGenerator = bar) -> None:
            bar.progress(done / total, text=escape_markdown(f"Asking {names.get(model, model)}: {done:,} of {total:,}"))

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

    `answers`: each model's predicted class names, one an example, needed unless `kind`, a key of `FILTERS`, is `all`.
    Scores count as
    the same within a tenth of their span.
    """
    near = _near(dataset)

    def alike(one: str, other: str) -> bool:
        return one == other if near is None else abs(float(one) - float(other)) <= near

    others = [found for model, found in answers.items() if model != teacher]

    def fits(at: int, gold: str) -> bool:
        if kind == "all":
            return True
        told = answers[teacher][at]
        if kind == "disagree":
            return any(not alike(found[at], told) for found in others)
        return gold != "" and alike(told, gold) == (kind == "right")

    rows = []
    for at, example in enumerate(dataset.examples):
        gold, text = _gold(dataset, at), f"{example.text}\n{example.text_pair or ''}".casefold()
        if search.casefold() in text and label in ("any", gold) and fits(at, gold):
            rows.append(at)
    return rows


def _near(dataset: Dataset) -> float | None:
    """Return how near two scores count as the same, a tenth of their span; None where there are classes."""
    span = get_task(dataset.task).span
    return None if span is None else (span[1] - span[0]) / 10


def answer_names(dataset: Dataset, model_id: str, progress: Callable[[int, int], None]) -> list[str]:
    """Return the class a model predicts for each example, by name."""
    task = get_task(dataset.task)
    rows = predicted(model_id, dataset, progress)
    return [task.label_name(row[0] if task.span else max(range(len(row)), key=row.__getitem__)) for row in rows]


def _texts(dataset: Dataset, rows: Sequence[int]) -> dict[str, list[str]]:
    """Return the texts of some examples, one list a column of the task."""
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
