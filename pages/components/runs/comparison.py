"""The selected runs compared: what each reached, and the settings in which they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import streamlit as st

from distill_core.config.run_config import FIELDS
from distill_core.data.tasks import get_task
from distill_core.runs.metric_names import task_metric_title
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.runs.summary import RunSummary, data_used_words
from pages.components.formatting import format_duration
from pages.components.page_frame import escape_markdown, page_link
from pages.components.palette import RUNS
from pages.components.run import markup
from pages.components.run.setting_labels import used_settings

_COLORS = "runs.colors"  # session key: the index in RUNS of every selected run


def run_colors(runs: Sequence[Run]) -> dict[str, str]:
    """Return each selected run's colour by id; a run keeps its colour for as long as it is selected."""
    before: dict[str, int] = st.session_state.get(_COLORS, {})
    kept = {run.id: before[run.id] for run in runs if run.id in before}
    free = [place for place in range(len(RUNS) + len(runs)) if place not in kept.values()]
    for run in runs:
        if run.id not in kept:
            kept[run.id] = free.pop(0)
    st.session_state[_COLORS] = kept
    return {run_id: RUNS[place % len(RUNS)] for run_id, place in kept.items()}


def draw_legend(outcomes: Sequence[RunSummary], colors: Mapping[str, str]) -> None:
    """Draw a line for each selected run: colour, name as a link to its page, and result."""
    with st.container(key="selected_runs", gap=None):
        for outcome in outcomes:
            run = outcome.run
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                st.html(markup.swatch(colors[run.id]), width="content")
                page_link("pages/distill.py", escape_markdown(markup.display_name(run)), run=run.id)
                metric = task_metric_title(get_task(run.config.task).metric)
                last = None if outcome.measured_at is None else (outcome.measured_at, outcome.score)
                when = "" if outcome.seconds is None else format_duration(outcome.seconds)
                st.html(markup.run_row(run, metric, last, when), width="stretch")


def draw_differences(store: Store, runs: Sequence[Run], colors: Mapping[str, str]) -> None:
    """Draw the settings and data in which the selected runs differ, or all of them."""
    with st.container(horizontal=True, vertical_alignment="center", key="differences_title"):
        st.html(markup.heading("Settings"), width="stretch")
        everything = len(runs) == 1 or st.toggle("Show all settings", key="runs.all_settings")
    if any(run.device is None for run in runs):  # the device behind `auto` is not known for all
        columns = [used_settings(replace(run, device=None)) for run in runs]
    else:
        columns = [used_settings(run) for run in runs]
    columns = [column | data_used_words(store.data_of(run.id)) for column, run in zip(columns, runs, strict=True)]
    shown = columns_that_differ(columns) if not everything else _rows(columns)
    if shown:
        st.html(differences_html(runs, shown, colors))
    else:
        st.caption("All settings are the same.")


def columns_that_differ(columns: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the settings in which runs differ, without names: label to a value for each run, "–" if not applicable."""
    name = FIELDS["name"].label
    return {label: values for label, values in _rows(columns).items() if len(set(values)) > 1 and label != name}


def differences_html(runs: Sequence[Run], rows: Mapping[str, Sequence[str]], colors: Mapping[str, str]) -> str:
    """Return settings as a table with a column for each run, headed in its colour."""
    heads = "".join(
        f'<th style="--dot:{colors[run.id]}"><bdi>{escape(markup.display_name(run))}</bdi></th>' for run in runs
    )
    body = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td><bdi>{escape(value)}</bdi></td>' for value in values)}</tr>"
        for label, values in rows.items()
    )
    table = f'<table class="dl-table dl-settings"><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="dl-run dl-wide">{table}</div>'


def _rows(columns: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    labels = dict.fromkeys(label for column in columns for label in column)
    return {label: [column.get(label, "–") for column in columns] for label in labels}
