"""Runs: all of them in a table; those that are picked side by side, with curves, differences and what can be done."""

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
    from distill_core.runs.summary import Outcome, overview
    from pages.components.resources import run_store
    from pages.components.runs import table
    from pages.components.runs.bulk_actions import draw_bulk_actions, table_csv
    from pages.components.runs.comparison import draw_differences, draw_legend, run_colors
    from pages.components.runs.overlay import draw_overlay

REFRESH_SECONDS = 3.0
_DRAWN = "runs.drawn"  # in the session: the ids of the runs drawn below the table


def listing(timed: bool) -> None:
    """Draw filters and table as they are now; what changes below them draws the whole page anew."""
    with errors_shown():
        store = run_store()
        scheduler.reconcile(store)
        outcomes = overview(store)
        if timed != store.has_runs(ACTIVE) or _seen(outcomes) != st.session_state[_DRAWN]:
            st.rerun()
        listed = table.draw_filter(outcomes).of(outcomes)
        hidden = len(set(table.selected_ids()) & ({one.run.id for one in outcomes} - {one.run.id for one in listed}))
        if hidden:
            st.caption(f"{hidden} of the picked runs {'is' if hidden == 1 else 'are'} hidden by the filters.")
        if not listed:
            st.caption("No run passes these filters.")
            return
        table.draw_table(listed)
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.caption(
                f"{len(listed):,} of {len(outcomes):,} runs. Tick rows to lay runs side by side.", width="content"
            )
            st.download_button(
                "This table, CSV",
                lambda: table_csv(listed),
                file_name="runs.csv",
                mime="text/csv",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
                key="runs.table_csv",
            )


def side_by_side(store: Store, outcomes: list[Outcome]) -> None:
    """Draw the picked runs: legend, deeds, curves, differences."""
    by_id = {outcome.run.id: outcome for outcome in outcomes}
    known = [by_id[run_id] for run_id in table.selected_ids() if run_id in by_id]
    if gone := len(table.selected_ids()) - len(known):
        st.caption(f"{gone} of the picked runs {'is' if gone == 1 else 'are'} not there any more.")
    if not known:
        return
    runs = [outcome.run for outcome in known]
    colors = run_colors(runs)
    draw_legend(known, colors)
    draw_bulk_actions(store, known)
    draw_overlay(store, runs, colors)
    draw_differences(store, runs, colors)


def _seen(outcomes: list[Outcome]) -> list[tuple[str, str, int | None]]:
    """Return what of the picked runs is drawn below the table and may change by itself."""
    chosen = set(table.selected_ids())
    return [(one.run.id, one.run.status, one.measured_at) for one in outcomes if one.run.id in chosen]


def main() -> None:
    """Draw the table, and below it what is picked."""
    st.header("Runs")
    store = run_store()
    warn_about_damaged_stores(store.damaged)
    scheduler.reconcile(store)
    outcomes = overview(store)
    if not outcomes:
        st.caption("There are no runs yet. The first takes minutes, on a laptop, too.")
        page_link("pages/distill.py", "Distill a student", ":material/experiment:")
        return
    st.session_state[_DRAWN] = _seen(outcomes)
    timed = store.has_runs(ACTIVE)
    st.fragment(listing, run_every=REFRESH_SECONDS if timed else None)(timed)
    side_by_side(store, outcomes)
    draw_footer(f"All runs are kept in {home()}.")


st.html(ASSETS / "runs.css")
with errors_shown():
    main()
