"""The table of all runs, with search and filters; the ticked rows are the selected runs."""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import streamlit as st

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.data.tasks import TASKS
from distill_core.paths import run_folder
from distill_core.runs.disk_usage import run_size
from distill_core.runs.lifecycle import ACTIVE, ENDED
from distill_core.runs.metric_names import task_metric_title
from distill_core.runs.run import Run
from distill_core.runs.summary import RunSummary, search_runs, tags_of
from pages.components.page_frame import draw_scroll_hint
from pages.components.run import markup

SELECTED = "run"  # query parameter, once for each selected run
_DRAWN = "runs.table"  # session key: the key of the table drawn last
ROW_HEIGHT, MAX_HEIGHT = 35, 460  # pixels


def selected_ids() -> list[str]:
    """Return the ids of the selected runs from the page's address."""
    return list(dict.fromkeys(st.query_params.get_all(SELECTED)))


def select(run_ids: Sequence[str]) -> None:
    """Write the selected runs to the page's address."""
    st.query_params[SELECTED] = list(run_ids)


def draw_filter(outcomes: Sequence[RunSummary]) -> list[RunSummary]:
    """Draw the filters, each with the values that occur, and return the runs that match."""
    runs = [outcome.run for outcome in outcomes]
    with st.container(horizontal=True, vertical_alignment="bottom", key="runs_filter"):
        words = st.text_input(
            "Search",
            key="runs.words",
            type="search",
            width=240,
            persist_state="session",
            help="Finds runs with every word in their name, id, note, tags, method, task, models or end reason.",
        )
        states = _draw_choice("State", [state for state in (*ACTIVE, *ENDED) if state in {run.status for run in runs}])
        tasks = {name: task.short_title for name, task in TASKS.items() if name in {run.config.task for run in runs}}
        methods = {
            name: method.title
            for name, method in DISTILLATION_METHODS.items()
            if name in {run.config.method for run in runs}
        }
        chosen = _draw_choice("Task", list(tasks), tasks), _draw_choice("Method", list(methods), methods)
        known = tags_of(outcomes)
        tags = _draw_choice("Tags", known) if known else ()
    return search_runs(outcomes, words or "", states, *chosen, tags)


def draw_table(outcomes: Sequence[RunSummary]) -> None:
    """Draw runs as a table; ticking a row selects its run."""
    ids = [outcome.run.id for outcome in outcomes]
    chosen = set(selected_ids())
    order = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]  # the selection refers to row numbers
    key = st.session_state[_DRAWN] = f"runs.table.{order}.{st.session_state.get('runs.cleared', 0)}"
    draw_scroll_hint()
    st.dataframe(
        table_columns(outcomes),
        hide_index=True,
        height=min(ROW_HEIGHT * (len(ids) + 1) + 3, MAX_HEIGHT),
        column_config=_column_config(outcomes),
        key=key,
        on_select=lambda: _select_ticked(key, ids),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [at for at, run_id in enumerate(ids) if run_id in chosen]}},
        placeholder="–",
        alt="Runs that match the filters",
    )


def clear_selection() -> None:
    """Select no run, and clear the ticks of the table."""
    select([])
    st.session_state["runs.cleared"] = st.session_state.get("runs.cleared", 0) + 1


def table_columns(outcomes: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """Return the table's columns; a missing number is None."""
    runs = [outcome.run for outcome in outcomes]
    return {
        "Name": [markup.display_name(run) for run in runs],
        "State": [run.status for run in runs],
        "Task": [TASKS[run.config.task].short_title for run in runs],
        "Method": [DISTILLATION_METHODS[run.config.method].title for run in runs],
        "Student": [markup.student_words(run.config) for run in runs],
        "Metric": [_finite(outcome.score) for outcome in outcomes],
        "Best": [_finite(outcome.best) for outcome in outcomes],
        "Agreement": [_finite(outcome.agreement) for outcome in outcomes],
        "Steps": [run.step for run in runs],
        "Minutes": [None if outcome.seconds is None else outcome.seconds / 60 for outcome in outcomes],
        "MB": [_disk_size(run) / 1e6 for run in runs],
        "Created": [datetime.fromtimestamp(run.created) for run in runs],
        "Tags": [list(run.tags) for run in runs],
        "Seed": [run.config.seed for run in runs],
        "Id": [run.id for run in runs],
    }


def _column_config(outcomes: Sequence[RunSummary]) -> Mapping[str, Any]:
    metrics = {task_metric_title(TASKS[outcome.run.config.task].metric) for outcome in outcomes}
    named = metrics.pop().capitalize() if len(metrics) == 1 else "Metric"
    column = st.column_config
    return {
        "Name": column.TextColumn(width="medium"),
        "State": column.TextColumn(width=80),
        "Task": column.TextColumn(width=70),
        "Metric": column.NumberColumn(named, format="%.3f", help="The task’s metric, at the last evaluation."),
        "Best": column.NumberColumn(format="%.3f", help="The highest value of the task’s metric over all evaluations."),
        "Agreement": column.NumberColumn(
            "Signed cosine",
            format="%.3f",
            help="Agreement: the cosine of the signed maps of student and teacher, at the last evaluation.",
        ),
        "Steps": column.NumberColumn(format="localized"),
        "Minutes": column.NumberColumn(format="%.1f", help="Training time over all attempts."),
        "MB": column.NumberColumn(format="%.0f", help="Disk space of students, checkpoints and log."),
        "Created": column.DatetimeColumn(format="D MMM, HH:mm"),
        "Tags": column.ListColumn(width="small"),
    }


def _draw_choice(label: str, options: Sequence[str], titles: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Draw a choice of any number of options; a chosen option that no longer exists is dropped."""
    key = f"runs.{label.lower()}"
    if key in st.session_state:
        st.session_state[key] = [one for one in st.session_state[key] if one in options]
    chosen = st.multiselect(
        label,
        options,
        format_func=lambda option: (titles or {}).get(option, option),
        key=key,
        placeholder="Any",
        width=210,
        persist_state="session",
    )
    return tuple(chosen)


def _select_ticked(key: str, ids: Sequence[str]) -> None:
    """Select the ticked runs; selected runs that are not listed stay selected, in their order.

    A click right after the rows changed still carries the former table's ticks: they are of other rows.
    """
    if key != st.session_state.get(_DRAWN):
        return
    rows = set(st.session_state[key].selection.rows)
    ticked = [run_id for at, run_id in enumerate(ids) if at in rows]
    before = [run_id for run_id in selected_ids() if run_id in ticked or run_id not in ids]
    select([*before, *(run_id for run_id in ticked if run_id not in before)])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _disk_size(run: Run) -> int:
    """Return a run's size on disk in bytes; for an ended run it is cached until its folder changes."""
    try:
        changed = run_folder(run.id).stat().st_mtime_ns
    except OSError:
        return 0
    return _counted_size(str(run_folder(run.id)), run.id, changed, time.time() if run.active else 0.0)


@st.cache_data(max_entries=2048, show_spinner=False)
def _counted_size(folder: str, run_id: str, changed: int, now: float) -> int:
    del folder, changed, now  # part of the key
    return run_size(run_id)
