"""What a user writes to a run, and deleting it: a window, and how note and tags are shown."""

from functools import partial
from html import escape

import streamlit as st

from distill_core import housekeeping
from distill_core.config import FIELDS
from distill_core.errors import DistillError
from distill_core.exports import csv_bytes, json_bytes, parquet_bytes
from distill_core.runs import Run
from distill_core.store import NOTE_LENGTH, Store
from pages.components.frame import plain, show_error

SURE = "distill.sure"  # in the session: the run that is asked about


def manage_button(run: Run) -> None:
    """Draw the button that opens the window; for runs that have ended, whose page is not drawn anew every second."""
    if st.button("Manage", icon=":material/edit_note:", key="distill.manage", help="Name, note, tags, delete."):
        st.session_state.pop(SURE, None)
        st.dialog("Manage this run", icon=":material/edit_note:")(draw_window)(run.id)


def shown_notes(run: Run) -> str:
    """Return a run's tags and note as HTML, empty where it has none."""
    tags = "".join(f"<span><bdi>{escape(tag)}</bdi></span>" for tag in run.tags)
    note = f"<p><bdi>{escape(run.note)}</bdi></p>" if run.note else ""
    return f'<div class="dl-run dl-notes">{tags}{note}</div>' if tags or note else ""


def draw_window(run_id: str) -> None:
    """Draw the window's content; what it saves or deletes closes it."""
    try:
        store = Store()
        run = store.get(run_id)
        limit = int(FIELDS["name"].maximum or 0)
        name = st.text_input("Name", run.name, max_chars=limit, placeholder="None", key="distill.new_name")
        tags = st.text_input("Tags", ", ".join(run.tags), help="Separated by commas.", key="distill.new_tags")
        note = st.text_area("Note", run.note, max_chars=NOTE_LENGTH, key="distill.new_note")
        if st.button("Save", type="primary", icon=":material/save:", key="distill.save"):
            store.annotate(run_id, note=note, tags=tags.split(","))
            housekeeping.rename(store, run_id, name)
            st.rerun()
        st.divider()
        _downloads(store, run)
        st.divider()
        _deletion(store, run)
    except DistillError as error:
        show_error(error)


def _downloads(store: Store, run: Run) -> None:
    """Draw what can be downloaded, made when it is asked for, and the command for what is too large for that."""
    with st.container(horizontal=True):
        for kind, make in (("csv", csv_bytes), ("parquet", parquet_bytes), ("json", json_bytes)):
            st.download_button(
                f"{'Settings' if kind == 'json' else 'Curves'}, {kind.upper() if kind != 'parquet' else 'Parquet'}",
                partial(make, store, run),
                file_name=f"{run.id}.{kind}",
                on_click="ignore",
                key=f"distill.download_{kind}",
            )
    st.caption("The student as a Hugging Face folder with a model card, or TensorBoard files, from the command line:")
    st.code(f"python -m distill_core runs export {run.id} --as model --to my-student", language="sh", wrap_lines=True)


def _deletion(store: Store, run: Run) -> None:
    """Draw the button that deletes, which asks before it does."""
    if using := housekeeping.users(store, run.id):
        st.caption(plain(f"It cannot be deleted: its student is used by {', '.join(using)}."))
        return
    space = f"{housekeeping.size(run.id) / 1e6:,.0f} MB"
    if st.session_state.get(SURE) != run.id:
        words, icon = f"Delete this run, {space}", ":material/delete:"
        st.button(words, icon=icon, key="distill.delete", on_click=_ask, args=(run.id,))
        return
    st.warning(f"Its curves, log and student are deleted, {space}. This cannot be undone.")
    with st.container(horizontal=True):
        if st.button("Delete for good", type="primary", icon=":material/delete_forever:", key="distill.delete_sure"):
            housekeeping.delete(store, run.id)
            st.query_params.clear()
            st.rerun()
        st.button("Keep it", key="distill.keep_it", on_click=_ask, args=(None,))


def _ask(run_id: str | None) -> None:
    st.session_state[SURE] = run_id
