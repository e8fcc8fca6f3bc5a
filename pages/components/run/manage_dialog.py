"""What a user writes to a run, what can be had of it, and deleting it: a window, and how note and tags are shown."""

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
from distill_core.storage.checkpoints import RECORD
from distill_core.storage.model_folder import read_json
from pages.components.formatting import format_size
from pages.components.page_frame import escape_markdown, note_dialog_closed, note_dialog_open, show_error
from pages.components.resources import run_store
from pages.components.run.markup import text_line

CONFIRMING = "distill.sure"  # in the session: what is to be deleted, and of which run, until the answer


def draw_manage_button(run: Run) -> None:
    """Draw the button that opens the window; for runs that have ended, whose page is not drawn anew every second."""
    if st.button("Manage", icon=":material/edit_note:", key="distill.manage", help="Name, note, downloads, space."):
        st.session_state.pop(CONFIRMING, None)
        note_dialog_open()
        st.dialog("Manage this run", icon=":material/edit_note:", on_dismiss=note_dialog_closed)(draw_manage_dialog)(
            run.id
        )


def notes_html(run: Run) -> str:
    """Return a run's tags and note, and what is kept of its student where not all is; empty where there is nothing."""
    tags = "".join(f"<span><bdi>{escape(tag)}</bdi></span>" for tag in run.tags)
    note = f"<p><bdi>{escape(run.note)}</bdi></p>" if run.note else ""
    notes = f'<div class="dl-run dl-notes">{tags}{note}</div>' if tags or note else ""
    return notes + (text_line(kept) if (kept := _kept_students(run)) else "")


def _kept_students(run: Run) -> str:
    """Say which student an ended run has, where that is not its last."""
    if run.active or run.model_path is None:
        return ""
    if find_student(run.id) is None:
        return "Its student has been deleted; curves, settings and log are kept."
    if run.config.keep != "best" or run.state != "finished":
        return ""
    try:
        step = read_json(run.model_path / RECORD).get("step")
    except ModelError as error:
        return str(error)
    return "" if step == run.step else f"Of its students only the best is kept, of step {step} of {run.step:,}."


def draw_manage_dialog(run_id: str) -> None:
    """Draw the window's content; what it saves or deletes closes it."""
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
    """Draw what can be downloaded; each is made when it is asked for, while its button shows that it is at work."""
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
        st.caption("A model is a Hugging Face folder with a model card. The same from the command line:")
        command = f"python -m distill_core runs export {run.id} --as model --to my-student"
        st.code(command, language="sh", wrap_lines=True)


def _draw_disk_space(store: Store, run: Run) -> None:
    """Say what a run takes on disk, and draw the buttons that delete its students, or all of it; each asks first."""
    whole, students = format_size(run_size(run.id)), format_size(freeable_size(run.id))
    st.caption(f"{whole} on disk, {students} of it students and what the training would go on from.")
    if using := deletion.student_users(store, run.id):
        st.caption(escape_markdown(f"It cannot be deleted: its student is used by {', '.join(using)}."))
        return
    asked = st.session_state.get(CONFIRMING)
    if asked == ("free", run.id):
        st.warning(f"Its students will be deleted, {students}; curves, settings and log stay. This cannot be undone.")
        if _draw_confirmation("Free space for good", "distill.free_sure", ":material/mop:"):
            deletion.free_run(store, run.id)
            st.rerun()
    elif asked == ("delete", run.id):
        st.warning(f"Its curves, log and students will be deleted, {whole}. This cannot be undone.")
        if _draw_confirmation("Delete for good", "distill.delete_sure", ":material/delete_forever:"):
            deletion.delete_run(store, run.id)
            st.query_params.clear()
            st.rerun()
    else:
        with st.container(horizontal=True):
            if freeable_size(run.id):
                words = f"Free space, {students}"
                st.button(words, icon=":material/mop:", key="distill.free", on_click=_confirm, args=(("free", run.id),))
            words, icon = f"Delete this run, {whole}", ":material/delete:"
            st.button(words, icon=icon, key="distill.delete", on_click=_confirm, args=(("delete", run.id),))


def _draw_confirmation(words: str, key: str, icon: str) -> bool:
    """Draw the two answers; say whether it is to be done."""
    with st.container(horizontal=True):
        sure = st.button(words, type="primary", icon=icon, key=key)
        st.button("Keep it", key="distill.keep_it", on_click=_confirm, args=(None,))
    return sure


def _confirm(what: tuple[str, str] | None) -> None:
    st.session_state[CONFIRMING] = what
