"""The dialog that names, annotates, exports and deletes a run, and the markup of its note and tags."""

from collections.abc import Callable
from functools import partial
from html import escape

import streamlit as st

from distill_core.catalog import deletion
from distill_core.config.run_config import FIELDS
from distill_core.errors import DistillError, ModelError
from distill_core.export.run_export import csv_bytes, json_bytes, model_zip_bytes, parquet_bytes, tensorboard_zip_bytes
from distill_core.runs.disk_usage import freeable_size, run_size
from distill_core.runs.run import Run
from distill_core.runs.store import NOTE_LENGTH, Store
from distill_core.runs.students import find_student
from distill_core.shell_command import shell_command
from distill_core.storage.checkpoints import RECORD
from distill_core.storage.model_folder import read_json
from pages.components.formatting import format_size
from pages.components.page_frame import escape_markdown, note_dialog_closed, note_dialog_open, show_error
from pages.components.resources import run_store
from pages.components.run.markup import text_line

CONFIRMING = "distill.sure"  # session key: what is to be deleted and of which run, until confirmed


def draw_manage_button(run: Run) -> None:
    """Draw the button that opens the dialog; for ended runs, whose page does not tick."""
    if st.button(
        "Manage", icon=":material/settings:", key="distill.manage", help="Name, note, downloads and disk space."
    ):
        st.session_state.pop(CONFIRMING, None)
        note_dialog_open()
        st.dialog("Manage this run", icon=":material/settings:", on_dismiss=note_dialog_closed)(draw_manage_dialog)(
            run.id
        )


def notes_html(run: Run) -> str:
    """Return a run's tags and note, and which of its students is kept where that is not the last."""
    tags = "".join(f"<span><bdi>{escape(tag)}</bdi></span>" for tag in run.tags)
    note = f"<p><bdi>{escape(run.note)}</bdi></p>" if run.note else ""
    notes = f'<div class="dl-run dl-notes">{tags}{note}</div>' if tags or note else ""
    return notes + (text_line(kept) if (kept := _kept_students(run)) else "")


def _kept_students(run: Run) -> str:
    """Return in words which student an ended run has, where that is not its last."""
    if run.active or run.model_path is None:
        return ""
    if find_student(run.id) is None:
        return "The student has been deleted; curves, settings and log are kept."
    if run.config.keep != "best" or run.state != "finished":
        return ""
    try:
        step = read_json(run.model_path / RECORD).get("step")
    except ModelError as error:
        return str(error)
    return "" if step == run.step else f"Only the best student is kept, from step {step} of {run.step:,}."


def draw_manage_dialog(run_id: str) -> None:
    """Draw the dialog; saving and deleting close it."""
    try:
        store = run_store()
        run = store.get(run_id)
        limit = int(FIELDS["name"].maximum or 0)
        name = st.text_input("Name", run.name, max_chars=limit, placeholder="None", key="distill.new_name")
        tags = st.text_input("Tags", ", ".join(run.tags), help="Separated by commas.", key="distill.new_tags")
        note = st.text_area("Note", run.note, max_chars=NOTE_LENGTH, key="distill.new_note")
        if st.button("Save", type="primary", icon=":material/save:", key="distill.save"):
            store.annotate(run_id, note=note, tags=tags.split(","))
            deletion.rename_run(store, run_id, name)
            st.rerun()
        st.divider()
        _draw_downloads(store, run)
        st.divider()
        _draw_disk_space(store, run)
    except DistillError as error:
        show_error(error)


def _draw_downloads(store: Store, run: Run) -> None:
    """Draw the download buttons; each file is made when its button is clicked."""
    made: dict[str, tuple[str, Callable[[], bytes], str]] = {
        "csv": ("Curves, CSV", partial(csv_bytes, store, run), "csv"),
        "parquet": ("Curves, Parquet", partial(parquet_bytes, store, run), "parquet"),
        "tensorboard": ("TensorBoard (zip)", partial(tensorboard_zip_bytes, store, run), "tensorboard.zip"),
        "json": ("Settings, JSON", partial(json_bytes, store, run), "json"),
    }
    if find_student(run.id) is not None:
        made["model"] = ("Model (zip)", partial(model_zip_bytes, store, run), "zip")
    if find_student(run.id, best=True) not in (None, find_student(run.id)):
        made["best"] = ("Best model (zip)", partial(model_zip_bytes, store, run, best=True), "best.zip")
    with st.container(horizontal=True):
        for kind, (label, make, ending) in made.items():
            name, key = f"{run.id}.{ending}", f"distill.download_{kind}"
            st.download_button(label, make, file_name=name, on_click="ignore", key=key, icon=":material/download:")
    if "model" in made:
        st.caption("The model is a Hugging Face folder with a model card. To export it from the command line:")
        command = shell_command("runs", "export", run.id, "--as", "model", "--to", "my-student")
        st.code(command, language="sh", wrap_lines=True)


def _draw_disk_space(store: Store, run: Run) -> None:
    """Draw a run's disk space and the buttons that delete its students or the run, each with a confirmation."""
    whole, students = format_size(run_size(run.id)), format_size(freeable_size(run.id))
    st.caption(f"{whole} on disk, of which {students} are students and checkpoints.")
    if using := deletion.student_users(store, run.id):
        st.caption(escape_markdown(f"This run cannot be deleted: its student is used by {', '.join(using)}."))
        return
    asked = st.session_state.get(CONFIRMING)
    if asked == ("free", run.id):
        st.warning(f"This deletes its students ({students}). Curves, settings and log are kept. This cannot be undone.")
        if _draw_confirmation("Delete students permanently", "distill.free_sure", ":material/mop:"):
            deletion.free_run(store, run.id)
            st.rerun()
    elif asked == ("delete", run.id):
        st.warning(f"This deletes its curves, log and students ({whole}). This cannot be undone.")
        if _draw_confirmation("Delete permanently", "distill.delete_sure", ":material/delete_forever:"):
            deletion.delete_run(store, run.id)
            st.query_params.clear()
            st.rerun()
    else:
        with st.container(horizontal=True):
            if freeable_size(run.id):
                words = f"Delete students ({students})"
                st.button(words, icon=":material/mop:", key="distill.free", on_click=_confirm, args=(("free", run.id),))
            words, icon = f"Delete run ({whole})", ":material/delete:"
            st.button(words, icon=icon, key="distill.delete", on_click=_confirm, args=(("delete", run.id),))


def _draw_confirmation(words: str, key: str, icon: str) -> bool:
    """Draw the two answers; return whether to go ahead."""
    with st.container(horizontal=True):
        sure = st.button(words, type="primary", icon=icon, key=key)
        st.button("Cancel", key="distill.keep_it", on_click=_confirm, args=(None,))
    return sure


def _confirm(what: tuple[str, str] | None) -> None:
    st.session_state[CONFIRMING] = what
