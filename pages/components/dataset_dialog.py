"""The dialog that adds a user's dataset: upload, columns, classes and split; it also removes datasets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from distill_core.data.column_mapping import DataMapping, guess_labels, guess_mapping, is_split_column, value_counts
from distill_core.data.tasks import Task, get_task
from distill_core.data.user_datasets import HELD_OUT, MAX_NAME, UserDataset, add_user_dataset, list_user_datasets
from distill_core.data.user_files import FILE_KINDS, MAX_MEGABYTES, Table, has_header, read_table
from distill_core.errors import DataError, DistillError
from distill_core.runs import scheduler
from pages.components.page_frame import (
    draw_scroll_hint,
    errors_shown,
    escape_markdown,
    note_dialog_closed,
    note_dialog_open,
    show_error,
)
from pages.components.resources import run_store

PREVIEW_ROWS = 5  # rows
MAX_CLASSES = 12  # of a label column: more are no classes
Use = Callable[[str], None]
_TABLE, _REMOVAL_ERROR, _TO_REMOVE = "own.table", "own.refused", "own.asked"


def draw_add_data_button(task: str, use: Use) -> None:
    """Draw the button that opens the dialog; `use(source)` is called with the added dataset."""
    if st.button("Add your own data …", icon=":material/upload_file:", type="tertiary", key="own.open"):
        note_dialog_open()
        open_dataset_dialog(task, use)


@st.dialog("Add your own data", width="large", icon=":material/upload_file:", on_dismiss=note_dialog_closed)
def open_dataset_dialog(task: str, use: Use) -> None:
    """Open the dialog."""
    with errors_shown():
        draw_dataset_dialog(get_task(task), use)


def draw_dataset_dialog(task: Task, use: Use) -> None:
    """Draw the dialog: a file to upload, then how it is read; DistillError for a file that cannot be read."""
    file = st.file_uploader(
        f"{', '.join(FILE_KINDS[:-1]).upper()} or {FILE_KINDS[-1].upper()} file "
        f"for {escape_markdown(task.short_title)}",
        type=list(FILE_KINDS),
        max_upload_size=MAX_MEGABYTES,
        key="own.file",
    )
    if file is None:
        st.session_state.pop(_TABLE, None)
        columns = " and ".join(task.columns)
        st.caption(
            f"UTF-8, at most {MAX_MEGABYTES} MB, with a column for {escape_markdown(columns)}. Training also "
            "needs a column of labels. The file stays on this machine."
        )
        _draw_datasets(task)
        return
    table = _read_upload(file, _draw_header_toggle(file))
    base = f"own.{file.file_id}"
    prefix = f"{base}.{table.headed}"
    _fill_in_guess(base, prefix, task, table)
    draw_scroll_hint()
    st.dataframe(
        [{name: str(row.get(name, "")) for name in table.columns} for row in table.rows[:PREVIEW_ROWS]], hide_index=True
    )
    shown = (
        f"{len(table.rows):,} rows; the first ones are shown."
        if len(table.rows) > PREVIEW_ROWS
        else "All rows are shown."
    )
    st.caption(shown if table.headed else f"{shown} The first line is read as data.")
    _draw_columns(prefix, task, table)
    _draw_classes(prefix, task, table)
    _draw_name_and_split(base, prefix, table)
    told = st.container()  # above the button, where it is seen
    if st.button("Add", icon=":material/add:", key="own.add"):
        with told, errors_shown():
            with st.spinner("Checking every row …", show_time=True):
                data = _add_dataset(base, prefix, task, table)
            if data.leakage_warning:
                st.toast(escape_markdown(data.leakage_warning), icon=":material/warning:", duration="infinite")
            use(data.source)
            st.rerun()


def _draw_header_toggle(file: Any) -> bool:
    """Draw the choice of whether the first line names the columns, and return it; its default is a guess."""
    if file.name.lower().endswith(".jsonl"):
        return True
    key = f"own.{file.file_id}.first_line"
    if key not in st.session_state:
        st.session_state[key] = has_header(file.name, file.getvalue())
    return st.toggle("The first line names the columns", key=key)


def _read_upload(file: Any, headed: bool) -> Table:
    """Return the rows of an uploaded file, read again only when the header choice changes."""
    kept = st.session_state.get(_TABLE)
    if kept is None or kept[:2] != (file.file_id, headed):
        with st.spinner(f"Reading {escape_markdown(file.name)} …"):
            kept = st.session_state[_TABLE] = (file.file_id, headed, read_table(file.name, file.getvalue(), headed))
    table: Table = kept[2]
    return table


def _fill_in_guess(base: str, prefix: str, task: Task, table: Table) -> None:
    """Fill empty fields of the form with the likely values."""
    guess = guess_mapping(task, table)
    first = {f"columns.{column}": guess.columns.get(column) for column in task.columns}
    first |= {"label": guess.label or "", "split": guess.split or ""}
    for name, value in first.items():
        st.session_state.setdefault(f"{prefix}.{name}", value)
    st.session_state.setdefault(f"{base}.name", Path(table.file).stem[:MAX_NAME])
    st.session_state.setdefault(f"{base}.share", round(100 * HELD_OUT))


def _draw_columns(prefix: str, task: Task, table: Table) -> None:
    places = st.columns(len(task.columns) + 1, gap="small")
    for place, column, title in zip(places, task.columns, task.text_titles, strict=False):
        place.selectbox(title, table.columns, placeholder="Choose a column", key=f"{prefix}.columns.{column}")
    words = f"{task.labels[0].capitalize()}, {task.span[0]:g} to {task.span[1]:g}" if task.span else "Label"
    places[-1].selectbox(
        words, ["", *table.columns], format_func=lambda name: name or "No labels", key=f"{prefix}.label"
    )


def _draw_classes(prefix: str, task: Task, table: Table) -> None:
    """Draw a choice of class for each value of the label column; DataError where there are too many values."""
    column = st.session_state[f"{prefix}.label"]
    if not column or task.span:
        return
    values = value_counts(table, column)
    if len(values) > MAX_CLASSES:
        raise DataError(
            f"Column {column!r} has {len(values):,} different values; choose the column that holds the labels."
        )
    likely = guess_labels(task, table, column)
    with st.container(horizontal=True, gap="small"):
        for value, count in values.items():
            key = f"{prefix}.class.{column}.{value}"
            st.session_state.setdefault(key, likely.get(value))
            words = f"“{escape_markdown(value[:40])}” ({count:,}) means"
            st.selectbox(words, task.labels, placeholder="Choose a class", key=key, width=200)


def _draw_name_and_split(base: str, prefix: str, table: Table) -> None:
    """Draw the name and the validation split, which needs labels."""
    name, held_out = st.columns(2, gap="small")
    name.text_input("Name", max_chars=MAX_NAME, key=f"{base}.name")
    if not st.session_state[f"{prefix}.label"]:
        held_out.caption("Without labels, the rows can be explained but not trained on.")
        return
    splits = [column for column in table.columns if is_split_column(table, column)]
    with held_out, st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        if splits:
            shown = {"": "A share of the rows"} | {column: f"The rows that {column} marks" for column in splits}
            st.selectbox("Held out for validation", list(shown), format_func=shown.__getitem__, key=f"{prefix}.split")
        if not st.session_state[f"{prefix}.split"]:
            words = "Held out for validation, %"
            st.number_input(words, min_value=1, max_value=99, step=5, key=f"{base}.share")


def _add_dataset(base: str, prefix: str, task: Task, table: Table) -> UserDataset:
    """Store the dataset as the form describes it; DistillError where that is not possible."""
    state = st.session_state
    begin = f"{prefix}.class.{state[f'{prefix}.label']}."
    unsaid = [str(key).removeprefix(begin) for key in state if str(key).startswith(begin) and not state[key]]
    if unsaid:
        values = ", ".join(f"“{value[:40]}”" for value in unsaid)
        raise DataError(f"Choose a class for {values} above, or remove these rows from the file.")
    mapping = DataMapping(
        columns={column: name for column in task.columns if (name := state[f"{prefix}.columns.{column}"])},
        label=state[f"{prefix}.label"] or None,
        labels={str(key).removeprefix(begin): state[key] for key in state if str(key).startswith(begin) and state[key]},
        split=(state[f"{prefix}.label"] and state[f"{prefix}.split"]) or None,
    )
    share = state.get(f"{base}.share", round(100 * HELD_OUT)) / 100
    return add_user_dataset(table, task.name, mapping, name=state[f"{base}.name"], held_out=share)


def _draw_datasets(task: Task) -> None:
    """Draw the task's datasets, each with a button that removes it after a confirmation."""
    kept = list_user_datasets(task.name)
    if kept:
        st.subheader("Your datasets")
    for data in kept:
        asked = st.session_state.get(_TO_REMOVE) == data.id
        with st.container(horizontal=True, vertical_alignment="center", gap="small", wrap=asked):
            rows = f"{data.rows['train']:,} training rows, {data.rows['validation']:,} held out"
            again = f"{data.repeated:,} held-out rows also in the training rows" if data.repeated else ""
            words = filter(None, (data.file, rows, again, data.source))
            st.markdown(
                " · ".join((f"**{escape_markdown(data.name)}**", *map(escape_markdown, words))), width="stretch"
            )
            if asked:
                st.button("Remove permanently", key="own.remove", on_click=_remove, args=(data.id,))
                st.button("Cancel", key="own.keep", on_click=_ask_to_remove, args=(None,))
            else:
                icon, words_shown = ":material/delete:", escape_markdown(f"Remove {data.name}")
                st.button(
                    "", icon=icon, help=words_shown, key=f"own.ask.{data.id}", on_click=_ask_to_remove, args=(data.id,)
                )
    refused = st.session_state.pop(_REMOVAL_ERROR, None)
    if refused is not None:
        show_error(refused)


def _ask_to_remove(data_id: str | None) -> None:
    st.session_state[_TO_REMOVE] = data_id


def _remove(data_id: str) -> None:
    try:
        scheduler.remove_data(run_store(), data_id)
    except DistillError as error:
        st.session_state[_REMOVAL_ERROR] = error
    _ask_to_remove(None)
