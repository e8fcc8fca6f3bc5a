"""Runs: a table of all runs, and the selected ones compared: curves, settings and bulk actions."""

import streamlit as st

from pages.components.page_frame import (
    begin_page,
    draw_footer,
    errors_shown,
    loading,
    page_link,
    warn_about_damaged_stores,
)

begin_page("Runs")
with loading("Loading the runs …"):
    from distill_core.paths import ASSETS, home
    from distill_core.runs import scheduler
    from distill_core.runs.lifecycle import ACTIVE
    from distill_core.runs.store import Store
    from distill_core.runs.summary import RunSummary, overview
    from pages.components.formatting import format_count
    from pages.components.resources import run_store
    from pages.components.runs import table
    from pages.components.runs.bulk_actions import draw_bulk_actions, table_csv
    from pages.components.runs.comparison import draw_differences, draw_legend, run_colors
    from pages.components.runs.overlay import draw_overlay

REFRESH_SECONDS = 3.0
_DRAWN = "runs.drawn"  # session key: the state of the selected runs when the page was drawn


def draw_listing(timed: bool) -> None:
    """Draw filters and table; a change in the selected runs redraws the whole page."""
    with errors_shown():
        store = run_store()
        scheduler.reconcile(store)
        outcomes = overview(store)
        if timed != store.has_runs(ACTIVE) or _selected_state(outcomes) != st.session_state[_DRAWN]:
            st.rerun()
        listed = table.draw_filter(outcomes)
        hidden = len(set(table.selected_ids()) & ({one.run.id for one in outcomes} - {one.run.id for one in listed}))
        if hidden:
            verb = "is" if hidden == 1 else "are"
            st.caption(f"{format_count(hidden, 'selected run')} {verb} hidden by the filters.")
        if not listed:
            st.caption("No runs match.")
            return
        table.draw_table(listed)
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.caption(f"{len(listed):,} of {len(outcomes):,} runs. Select rows to compare runs.", width="content")
            st.download_button(
                "Download table (CSV)",
                lambda: table_csv(listed),
                file_name="runs.csv",
                mime="text/csv",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
                key="runs.table_csv",
            )


def draw_comparison(store: Store, outcomes: list[RunSummary]) -> None:
    """Draw the selected runs: legend, actions, curves and settings."""
    by_id = {outcome.run.id: outcome for outcome in outcomes}
    known = [by_id[run_id] for run_id in table.selected_ids() if run_id in by_id]
    if gone := len(table.selected_ids()) - len(known):
        st.caption(f"{format_count(gone, 'selected run')} no longer {'exists' if gone == 1 else 'exist'}.")
    if not known:
        return
    runs = [outcome.run for outcome in known]
    colors = run_colors(runs)
    draw_legend(known, colors)
    draw_bulk_actions(store, known)
    draw_overlay(store, runs, colors)
    draw_differences(store, runs, colors)


def _selected_state(outcomes: list[RunSummary]) -> list[tuple[str, str, int | None]]:
    """Return what may change by itself in the selected runs below the table."""
    chosen = set(table.selected_ids())
    return [(one.run.id, one.run.status, one.measured_at) for one in outcomes if one.run.id in chosen]


def main() -> None:
    """Draw the table, and the selected runs below it."""
    st.header("Runs")
    store = run_store()
    warn_about_damaged_stores(store.damaged)
    scheduler.reconcile(store)
    outcomes = overview(store)
    if not outcomes:
        st.caption("There are no runs yet. A first run takes a few minutes on a laptop.")
        page_link("pages/distill.py", "Distill a student", ":material/experiment:")
        return
    st.session_state[_DRAWN] = _selected_state(outcomes)
    timed = store.has_runs(ACTIVE)
    st.fragment(draw_listing, run_every=REFRESH_SECONDS if timed else None)(timed)
    draw_comparison(store, outcomes)
    draw_footer(f"Runs are stored in {home()}.")


st.html(ASSETS / "runs.css")
with errors_shown():
    main()
