"""The actions on a run: stop, pause, resume, explain with its student, edit and rerun."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from distill_core.catalog.catalog import list_models
from distill_core.data.user_datasets import USER_SOURCE_PREFIX
from distill_core.errors import DistillError, RunError
from distill_core.paths import run_folder
from distill_core.runs import scheduler
from distill_core.runs.lifecycle import STOP_SECONDS
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.runs.students import find_student
from distill_core.storage.checkpoints import BEST
from pages.components.data_sources import source_for
from pages.components.page_frame import page_link, show_error
from pages.components.run.form import fill
from pages.components.run.manage_dialog import draw_manage_button

MAX_STUDENTS = 3  # that the Explain page compares


def draw_actions(store: Store, run: Run) -> None:
    """Draw the buttons and links that fit a run's state."""
    if run.active:
        _draw_end_buttons(store, run)
        return
    if find_student(run.id) is not None:
        with st.container(key="explain_student", width="content"):
            parameters = explain_parameters(run, st.session_state)
            page_link("pages/explain.py", "Explain with this student", ":material/visibility:", **parameters)
    if scheduler.can_resume(run):
        where = f"from its checkpoint, about step {run.step:,}" if run.model_path else "from the beginning"
        st.button(
            "Resume",
            icon=":material/resume:",
            key="distill.resume",
            help=f"Continues {where}. The result is the same as without the interruption.",
            on_click=_show_error_of,
            args=(_resume, store, run.id),
        )
    st.button(
        "Edit and rerun",
        icon=":material/edit_note:",
        key="distill.again",
        help="Opens the form with this run’s settings. Nothing starts until you press Start.",
        on_click=_edit_and_rerun,
        args=(run,),
    )
    draw_manage_button(run)


def _draw_end_buttons(store: Store, run: Run) -> None:
    if run.state == "queued":
        for word, other, icon in (("Earlier", "previous", "arrow_upward"), ("Later", "next", "arrow_downward")):
            st.button(
                word,
                icon=f":material/{icon}:",
                key=f"distill.{word.lower()}",
                help=f"Swaps places with the {other} run in the queue.",
                on_click=_show_error_of,
                args=(_move, store, run, word == "Earlier"),
            )
    stopping, pausing = run.status == "stopping", run.status == "pausing"
    st.button(
        "Pausing …" if pausing else "Pause",
        icon=":material/pause_circle:",
        key="distill.pause",
        disabled=stopping or pausing,
        help=f"Saves a checkpoint and frees the device within {STOP_SECONDS:.0f} seconds. Resume continues from there.",
        on_click=_show_error_of,
        args=(scheduler.stop, store, run.id, "pause"),
    )
    st.button(
        "Stopping …" if stopping else "Cancel" if run.state == "queued" else "Stop",
        icon=":material/stop_circle:",
        key="distill.stop",
        disabled=stopping,
        help=f"Ends the run within {STOP_SECONDS:.0f} seconds and keeps the current student.",
        on_click=_show_error_of,
        args=(scheduler.stop, store, run.id),
    )


def _show_error_of(action: Callable[..., object], *arguments: object) -> None:
    try:
        action(*arguments)
    except DistillError as error:
        show_error(error)


def _resume(store: Store, run_id: str) -> None:
    try:
        scheduler.resume(store, run_id)
    except RunError:
        if not store.get(run_id).active:  # otherwise an earlier click or another window has resumed it
            raise


def _move(store: Store, run: Run, earlier: bool) -> None:
    if not store.reorder(run.id, earlier) and store.get(run.id).state == "queued":
        st.toast(f"Already the {'first' if earlier else 'last'} in the queue.")


def explain_parameters(run: Run, state: Mapping[Any, Any]) -> dict[str, str | list[str]]:
    """Return the Explain page's address for a run's student beside the text and students last shown there.

    `state`: the visitor's session, in which that page keeps its text and students; bundled students until then.
    """
    student = f"run/{run.id}"
    bundled = [model.id for model in list_models() if model.kind == "bundled" and model.task == run.config.task]
    own = [student, f"{student}/{BEST}"] if best_folder(run) else [student]
    others = [model for model in state.get("explain.students", bundled) if model not in (*own, run.config.teacher)]
    students = [*own, *others][:MAX_STUDENTS]
    parameters: dict[str, str | list[str]] = {"task": run.config.task, "teacher": run.config.teacher}
    parameters["student"] = students
    if source_for(run.config.task, run.config.source).startswith(USER_SOURCE_PREFIX):
        parameters["source"] = run.config.source
    text = state.get("explain.text")
    if isinstance(text, str) and text.strip():
        parameters["text"] = text
    return parameters


def best_folder(run: Run) -> Path | None:
    """Return the folder of a run's best checkpoint, None where that is the last one."""
    folder = run_folder(run.id) / BEST
    return folder if folder.is_dir() else None


def _edit_and_rerun(run: Run) -> None:
    fill(run.rerun_config)
    st.query_params.clear()
