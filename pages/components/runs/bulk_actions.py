"""The actions on the selected runs: rerun, tag, download, delete."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import streamlit as st

from distill_core.catalog import deletion
from distill_core.errors import DistillError, RunError
from distill_core.runs.disk_usage import run_size
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.runs.summary import RunSummary
from pages.components.formatting import format_size, spreadsheet_text
from pages.components.page_frame import escape_markdown, show_error
from pages.components.run.form import fill
from pages.components.run.launch import Launch
from pages.components.runs import table

CONFIRMING = "runs.sure"  # session key: ids of runs whose deletion is to be confirmed
CSV = "text/csv"


def draw_bulk_actions(store: Store, outcomes: Sequence[RunSummary]) -> None:
    """Draw the buttons for the selected runs."""
    runs = [outcome.run for outcome in outcomes]
    ended = [run for run in runs if not run.active]
    with st.container(horizontal=True, key="bulk_actions"):
        st.button(
            _counted("Rerun", runs),
            icon=":material/replay:",
            key=f"runs.again.{','.join(run.id for run in runs)}",
            help="Queues new runs with the same settings. On the same machine they end with the same weights.",
            on_click=_rerun,
            args=(store, runs, Launch()),
        )
        if len(runs) == 1 and st.button(
            "Edit and rerun",
            icon=":material/edit_note:",
            key="runs.edit",
            help="Opens the form with this run’s settings. Nothing starts until you press Start.",
        ):
            fill(runs[0].rerun_config)
            st.switch_page("pages/distill.py")
        _draw_tags(store, runs)
        _draw_downloads(store, runs)
        if ended:
            st.button(
                _counted("Delete", ended),
                icon=":material/delete:",
                key="runs.delete",
                on_click=_confirm_delete,
                args=(ended,),
            )
        st.button(
            "Clear selection", icon=":material/close:", type="tertiary", key="runs.none", on_click=table.clear_selection
        )
    if set(st.session_state.get(CONFIRMING, ())) == {run.id for run in ended} and ended:
        _draw_delete_confirmation(store, ended)


def table_csv(outcomes: Sequence[RunSummary]) -> str:
    """Return the listed runs as CSV, the table's columns and all settings, with text safe for spreadsheets."""
    columns = table.table_columns(outcomes)
    lines = io.StringIO()
    writer = csv.writer(lines)
    settings = [asdict(outcome.run.config) for outcome in outcomes]
    names = [name for name in (settings[0] if settings else {}) if name != "name"]
    writer.writerow([*columns, *(f"setting {name}" for name in names)])
    for at, config in enumerate(settings):
        shown = [column[at] for column in columns.values()]
        writer.writerow([_csv_cell(value) for value in (*shown, *(config[name] for name in names))])
    return lines.getvalue()


def curves_csv(store: Store, runs: Sequence[Run]) -> str:
    """Return every point of some runs as CSV: run, name, step, metric, value; empty where it is not defined."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(("run", "name", "step", "metric", "value"))
    for run in runs:
        name = spreadsheet_text(run.name)
        for point in store.metrics(run.id):
            value = "" if point.value != point.value else repr(point.value)
            writer.writerow((run.id, name, point.step, point.name, value))
    return lines.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    return spreadsheet_text(value) if isinstance(value, str) else value


def _rerun(store: Store, runs: Sequence[Run], launch: Launch) -> None:
    """Submit new runs with the same settings, and select them; show which were refused, and why."""
    try:
        refused = launch.submit(store, [run.rerun_config for run in runs])
    except DistillError as error:
        show_error(error)
    else:
        for place, reason in refused:
            show_error(RunError(f"No new run of {runs[place].title} was started: {reason}"))
    if launch.runs:
        table.select(launch.runs)
        words = "A new run is" if len(launch.runs) == 1 else f"{len(launch.runs)} new runs are"
        st.toast(f"{words} in the queue.", icon=":material/replay:")


def _draw_tags(store: Store, runs: Sequence[Run]) -> None:
    with st.popover("Tags", icon=":material/sell:", key="runs.tagging"):
        common = [tag for tag in runs[0].tags if all(tag in run.tags for run in runs)]
        tag = st.text_input("Tag", key="runs.tag", placeholder="For example: paper")
        st.button(
            _counted("Add", runs),
            key="runs.add_tag",
            disabled=not tag.strip(),
            on_click=_add_tags,
            args=(store, runs),
        )
        for shared in common:
            st.button(
                escape_markdown(f"Remove {shared}"),
                key=f"runs.remove_tag.{shared}",
                type="tertiary",
                icon=":material/close:",
                on_click=_show_error_of,
                args=(partial(store.retag, [run.id for run in runs], (), (shared,)),),
            )


def _add_tags(store: Store, runs: Sequence[Run]) -> None:
    _show_error_of(partial(store.retag, [run.id for run in runs], st.session_state["runs.tag"].split(","), ()))
    st.session_state["runs.tag"] = ""


def _draw_downloads(store: Store, runs: Sequence[Run]) -> None:
    st.download_button(
        "Download curves (CSV)",
        partial(curves_csv, store, runs),
        file_name="curves.csv",
        mime=CSV,
        on_click="ignore",
        icon=":material/download:",
        key="runs.curves_csv",
    )


def _draw_delete_confirmation(store: Store, runs: Sequence[Run]) -> None:
    """Draw the confirmation of a deletion, and which runs cannot be deleted."""
    used = {run.id: deletion.student_users(store, run.id) for run in runs}
    free = [run for run in runs if not used[run.id]]
    for run in runs:
        if used[run.id]:
            st.caption(escape_markdown(f"{run.title} is kept: its student is used by {', '.join(used[run.id])}."))
    if not free:
        return
    space = format_size(sum(run_size(run.id) for run in free))
    whose = "this run" if len(free) == 1 else f"these {len(free)} runs"
    st.warning(f"This deletes curves, log and student of {whose} ({space}). This cannot be undone.")
    with st.container(horizontal=True):
        if st.button("Delete permanently", type="primary", icon=":material/delete_forever:", key="runs.delete_sure"):
            _delete(store, free)
        st.button("Cancel", key="runs.keep", on_click=_confirm_delete, args=((),))


def _delete(store: Store, runs: Sequence[Run]) -> None:
    gone, errors = set[str](), list[DistillError]()
    for run in runs:
        try:
            deletion.delete_run(store, run.id)
            gone.add(run.id)
        except DistillError as error:  # it does not keep the others from being deleted
            errors.append(error)
    table.select([run_id for run_id in table.selected_ids() if run_id not in gone])
    _confirm_delete(())
    for reason in errors:
        show_error(reason)
    if not errors:
        st.rerun()


def _confirm_delete(runs: Sequence[Run]) -> None:
    st.session_state[CONFIRMING] = [run.id for run in runs]


def _counted(words: str, runs: Sequence[Run]) -> str:
    return words if len(runs) == 1 else f"{words} ({len(runs)})"


def _show_error_of(action: Callable[[], object]) -> None:
    try:
        action()
    except DistillError as error:
        show_error(error)
