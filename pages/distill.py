"""Distill: start a run, watch it learn, and see whether the explanation gap closed."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.page_frame import (
    begin_page,
    dialog_open,
    errors_shown,
    escape_markdown,
    freeze_imports,
    loading,
    page_link,
    show_error,
    warn_about_damaged_stores,
)

begin_page("Distill")
with loading("Loading the form and the charts …"):
    from distill_core.errors import RunError
    from distill_core.paths import ASSETS
    from distill_core.runs import scheduler
    from distill_core.runs.lifecycle import ACTIVE, FAULTY
    from distill_core.runs.store import Store
    from pages.components.dataset_dialog import draw_add_data_button
    from pages.components.live_html import Parts
    from pages.components.resources import run_store
    from pages.components.run.detail import (
        draw_latest_runs,
        draw_progress,
        draw_run,
        receive_points,
        row_parts,
        run_parts,
        send_updates,
    )
    from pages.components.run.form import (
        draw_method,
        draw_more_settings,
        draw_name,
        draw_outlook,
        draw_settings,
        key,
        use_source,
    )
    from pages.components.run.launch import START_ERROR, Launch, start_run
    from pages.components.run.markup import display_name
    from pages.components.streaming_chart import listen

LIVE_SECONDS = 1.0
LIST_SECONDS = 3.0
PAGE = "distill.page"  # session key: the parts that the browser shows


def draw_form(store: Store) -> None:
    """Draw the form beside the method, the outlook and the Start button."""
    settings, launch = st.columns((1.55, 1), gap="large")
    with settings, st.container(key="settings"):
        st.header("Distill a student")
        draw_settings()
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="data"):
            data = st.container()
            draw_add_data_button(st.session_state[key("task")], use_source)
        draw_more_settings()
    with launch, st.container(border=True, key="launch"):
        draw_method()
        usable = draw_outlook(store, data)
        draw_name()
        st.button(
            "Start",
            type="primary",
            icon=":material/play_arrow:",
            key="distill.start",
            width="stretch",
            disabled=not usable,
            on_click=start_run,
            args=(Launch(),),
        )
        refused = st.session_state.pop(START_ERROR, None)
        if refused is not None and usable:  # otherwise draw_outlook has shown the error
            show_error(refused)


def draw_chosen_run(store: Store, run_id: str, page: Parts) -> DeltaGenerator | None:
    """Draw the run of this id; return the container of its progress bar, None if there is no such run."""
    try:
        run = store.get(run_id)
    except RunError as error:
        show_error(error)
        with st.container(key="new_run"):
            page_link("pages/distill.py", "New run", ":material/add:")
        return None
    ended_now = st.session_state.pop("distill.ended", None) == run_id  # while this session watched it
    if ended_now and run.state in ("finished", *FAULTY):  # not for a stop or pause the user requested
        st.toast(escape_markdown(f"{display_name(run)}: {run.state}. {run.reason}"), icon=":material/notifications:")
    return draw_run(store, run, page)


def tick(run_id: str | None, progress: DeltaGenerator | None, timed: bool, watched: bool) -> None:
    """Send the texts and points that are new; redraw the page where more than those has changed.

    `progress`: the container of the progress bar of the run `run_id`. `timed`: whether a run was active when the page
    was drawn; `watched`: whether `run_id` was. While a dialog is open the page is not redrawn, which would close it.
    """
    if dialog_open():
        return
    freeze_imports()
    with errors_shown():
        store = run_store()
        with store.one_connection():
            send_changes(store, run_id, progress, timed, watched)


def send_changes(store: Store, run_id: str | None, progress: DeltaGenerator | None, timed: bool, watched: bool) -> None:
    """Send what is new in the store, or redraw the page."""
    page = st.session_state[PAGE]
    scheduler.reconcile(store)
    parts, first = row_parts(store), not page.texts
    run = None if run_id is None else store.get(run_id)
    series = {} if run is None else receive_points(store, run)
    if run is not None:
        parts |= run_parts(store, run, series)
    if not first and (not page.fit(parts) or timed != store.has_runs(ACTIVE)):
        if watched and run is not None and not run.active:
            st.session_state["distill.ended"] = run_id
        st.rerun()
    if run is not None and run.active and progress is not None:
        with progress:
            draw_progress(store, run, series)
    send_updates(run, series, page, parts)


def write_address(chosen: str | None) -> None:
    """Write the chosen run to the page's address, which a link from this page to itself does not change."""
    if chosen is None:
        st.query_params.clear()
    else:
        st.query_params["run"] = chosen


def main() -> None:
    """Draw the run that the address names, or the form; the list of runs is below either."""
    store = run_store()
    warn_about_damaged_stores(store.damaged)
    scheduler.reconcile(store)
    chosen = st.query_params.get("run")
    write_address(chosen)
    page = st.session_state[PAGE] = Parts()
    progress = None
    with errors_shown():
        if chosen is None:
            draw_form(store)
        else:
            progress = draw_chosen_run(store, chosen, page)
    with errors_shown():
        draw_latest_runs(store, chosen, page)
    listen()
    timed = store.has_runs(ACTIVE)
    seconds = LIST_SECONDS if progress is None else LIVE_SECONDS
    run_id = chosen if progress is not None else None
    watched = run_id is not None and store.get(run_id).active
    st.fragment(tick, run_every=seconds if timed else None)(run_id, progress, timed, watched)


st.html(ASSETS / "runs.css")
with errors_shown():
    main()
