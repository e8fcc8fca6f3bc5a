"""Distill: start a run, watch it learn, and see whether the explanation gap closed."""

import streamlit as st

from pages.components.frame import errors_shown, frame, loading, page_link, plain, show_error

frame("Distill")
with loading("Loading the form and the charts …"):
    from distill_core import runner
    from distill_core.errors import DistillError, RunError
    from distill_core.paths import ASSETS
    from distill_core.runs import ACTIVE
    from distill_core.store import Store
    from pages.components.own_data_dialog import add_data_button
    from pages.components.run_form import (
        config_in_form,
        draw_method,
        draw_more_settings,
        draw_name,
        draw_outlook,
        draw_settings,
        key,
        use_source,
    )
    from pages.components.run_html import name
    from pages.components.run_view import draw_run, draw_runs

LIVE_SECONDS = 1.0
LIST_SECONDS = 3.0


def new_run(store: Store) -> None:
    """Draw the form beside what it would do, and the button that does it."""
    settings, launch = st.columns((1.55, 1), gap="large")
    with settings, st.container(key="settings"):
        st.header("Distill a student")
        draw_settings()
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="data"):
            data = st.container()
            add_data_button(st.session_state[key("task")], use_source)
        draw_more_settings()
    with launch, st.container(border=True, key="launch"):
        draw_method()
        usable = draw_outlook(store, data)
        draw_name()
        press = st.session_state.setdefault("distill.press", 0)
        st.button(
            "Start",
            type="primary",
            icon=":material/play_arrow:",
            key="distill.start",
            width="stretch",
            disabled=not usable,
            on_click=start,
            args=(press,),
        )
        refused = st.session_state.pop("distill.refused", None)
        if refused is not None and usable:  # else it is said above
            show_error(refused)


def start(press: int) -> None:
    """Make a run of what the form holds and look at it; one drawn button is good for one run."""
    if press != st.session_state["distill.press"]:  # the second click of a double click: go where the first one went
        if "distill.started" in st.session_state:
            st.query_params["run"] = st.session_state["distill.started"]
        return
    st.session_state["distill.press"] = press + 1
    try:
        store = Store()
        st.query_params["run"] = st.session_state["distill.started"] = runner.submit(store, config_in_form())
        st.session_state["distill.name"] = ""
        runner.pump(store)
    except DistillError as error:
        st.session_state["distill.refused"] = error


def look_at(store: Store, run_id: str) -> None:
    """Draw the run of this id, live while it is active."""
    try:
        run = store.get(run_id)
    except RunError as error:
        show_error(error)
        with st.container(key="new_run"):
            page_link("pages/distill.py", "New run", ":material/add:")
        return
    if run.active:
        st.fragment(watch, run_every=LIVE_SECONDS)(run_id)
        return
    if st.session_state.pop("distill.ended", None) == run_id:  # while it was being watched
        st.toast(plain(f"{name(run)}: {run.state}. {run.reason}"), icon=":material/notifications:", duration="long")
    draw_run(store, run)


def watch(run_id: str) -> None:
    """Draw one run as it is now; when it has just ended, the whole page is drawn anew, without the timer."""
    with errors_shown():
        store = Store()
        runner.pump(store)
        run = store.get(run_id)
        if not run.active:
            st.session_state["distill.ended"] = run_id
            st.rerun()
        draw_run(store, run)


def listing(chosen: str | None, timed: bool) -> None:
    """Draw the list of runs; once nothing is active any more, the page is drawn anew, without the timer."""
    with errors_shown():
        store = Store()
        runner.pump(store)
        if timed and not store.runs(ACTIVE, limit=1):
            st.rerun()
        draw_runs(store, chosen)


def publish(chosen: str | None) -> None:
    """Put what is looked at into the address: a link from this page to itself leaves the browser's as it was."""
    if chosen is None:
        st.query_params.clear()
    else:
        st.query_params["run"] = chosen


def main() -> None:
    """Draw the run the address names, else the form; below either, the list of runs."""
    store = Store()
    for aside in store.damaged:
        st.warning(
            plain(
                f"The run store was damaged and has been set aside as {aside}. Runs begun since are in a new one; the "
                "students of those before are still there to explain. Delete the file and this goes away."
            ),
            icon=":material/healing:",
        )
    runner.pump(store)
    chosen = st.query_params.get("run")
    publish(chosen)
    with errors_shown():
        if chosen is None:
            new_run(store)
        else:
            look_at(store, chosen)
    timed = bool(store.runs(ACTIVE, limit=1))
    st.fragment(listing, run_every=LIST_SECONDS if timed else None)(chosen, timed)


st.html(ASSETS / "runs.css")
with errors_shown():
    main()
