"""One run as it stands, and the list of runs; a live view is `draw_run` called again and again.

What a visitor's session keeps of a run is the points received so far and the cursor behind the last one,
so each look asks the store only for what is new.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import streamlit as st

from distill_core.alarms import Series, alarms, constant_score
from distill_core.catalogue import read_json
from distill_core.devices import resolve_device
from distill_core.errors import ConfigError
from distill_core.events import DataUsed
from distill_core.runs import Run
from distill_core.store import Store
from distill_core.tasks import get_task
from pages.components import run_html
from pages.components.charts import metric_words
from pages.components.frame import page_link, plain
from pages.components.run_actions import best_folder, draw_actions
from pages.components.run_curves import choose_view, draw_chart
from pages.components.run_estimate import about, exactly
from pages.components.run_notes import shown_notes
from pages.components.run_words import used_settings

SILENT_SECONDS = 20.0  # a worker's heartbeat is due every second
LOG_LINES = 40
LOG_SEARCHED, LOG_FOUND = 5000, 200  # lines at the log's end that are looked through, and shown at most
LOSSES = ("Weighted", "Raw")
LATEST = 8  # runs in the list, until all are asked for
_GATHERED, _ALL = "distill.gathered", "distill.all_runs"


@dataclass
class Gathered:
    """The points of one run that a session has received: (step, value) by metric, and the last cursor.

    `started`: of the attempt they are of, as one that goes on from a checkpoint first undoes what came after it.
    """

    run_id: str
    started: float | None
    cursor: int = 0
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def gather(store: Store, run: Run) -> Series:
    """Fetch what is new of a run and return all its points; those of another run or attempt are dropped."""
    kept = st.session_state.get(_GATHERED)
    if not isinstance(kept, Gathered) or (kept.run_id, kept.started) != (run.id, run.started):
        kept = st.session_state[_GATHERED] = Gathered(run.id, run.started)
    for point in store.metrics(run.id, after=kept.cursor):
        kept.series.setdefault(point.name, []).append((point.step, point.value))
        kept.cursor = point.cursor
    return kept.series


def draw_run(store: Store, run: Run) -> None:
    """Draw state, progress, curves, numbers and log of a run, with the buttons that fit its state."""
    series, used = gather(store, run), store.data_of(run.id)
    with st.container(horizontal=True, vertical_alignment="center", key="run_head"):
        st.html(run_html.head(run), width="stretch")
        draw_actions(store, run)
        with st.container(key="new_run", width="content"):
            page_link("pages/distill.py", "New run", ":material/add:")
    if notes := shown_notes(run):
        st.html(notes)
    if run.active:
        _progress(store, run, series)
    else:
        _outcome(run, series, used)
    if run.step or run.state != "failed":  # a run refused for its teacher has said so
        for words in alarms(run.config, series):
            st.html(run_html.line(words, alarm=True))
    if used:
        st.html(run_html.data_line(used))
    st.html(run_html.facts(run_html.run_facts(run, series, time.time())))
    _curves(run, series)
    _log(store, run)


def draw_runs(store: Store, chosen: str | None = None) -> None:
    """Draw the latest runs, or all where the visitor has asked for them, each name a link to its view."""
    runs = store.runs()
    shown = runs if st.session_state.get(_ALL) else runs[:LATEST]
    if not runs:
        return
    st.subheader("Runs")
    with st.container(key="runs", gap=None):
        for run in shown:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                words = plain(run_html.name(run))
                page_link("pages/distill.py", f"**{words}**" if run.id == chosen else words, run=run.id)
                score = _score(store, str(store.path), run.id, run.step, run.state)
                st.html(
                    run_html.row(run, metric_words(get_task(run.config.task).metric), score, _when(run)),
                    width="stretch",
                )
    if len(runs) > LATEST:
        words = f"Show all {len(runs)} runs" if len(shown) < len(runs) else f"Show the latest {LATEST} only"
        st.button(words, type="tertiary", key="distill.show_runs", on_click=_toggle_all)


def _toggle_all() -> None:
    st.session_state[_ALL] = not st.session_state.get(_ALL)


def queue_words(store: Store, run: Run) -> str:
    """Say what a queued run waits for."""
    device = _device(run)
    others = [other for other in store.runs(("running", "queued")) if _device(other) == device]
    before = [other for other in others if other.state == "running" or other.position < run.position]
    before.sort(key=lambda other: (other.state == "queued", other.position))
    if not before:
        return "Waiting: starts in a moment."
    place = "next" if len(before) == 1 else f"number {len(before)} in the queue"
    return f"Waiting: {place} on {device}, one run trains there at a time. Now: {run_html.name(before[0])}."


def _device(run: Run) -> str:
    try:
        return run.device or resolve_device(run.config.device)
    except ConfigError:  # a device that has gone: the queue will say so
        return run.config.device


def _progress(store: Store, run: Run, series: Series) -> None:
    steps = run.config.steps
    if run.state == "queued":
        st.progress(0.0, text=plain(queue_words(store, run)))
        return
    silent = 0.0 if run.heartbeat is None else time.time() - run.heartbeat
    if run.status in ("stopping", "pausing"):
        words = f"{run.status.capitalize()} at step {run.step:,} of {steps:,}: the student is being saved"
    elif run.phase == "training" or run.step:
        left = series.get("seconds_left", ())
        words = f"{(run.phase or 'training').capitalize()}: step {run.step:,} of {steps:,}"
        words += f", {about(left[-1][1])} left" if left and math.isfinite(left[-1][1]) else ""
    else:
        detail = f": {run.phase_detail}" if run.phase_detail else ""
        words = f"{(run.phase or 'starting').capitalize()}{detail} …"
    st.progress(min(1.0, run.step / steps), text=plain(words))
    if silent > SILENT_SECONDS:
        st.html(run_html.line(f"The worker has not been heard of for {exactly(silent)}. Wait, or stop the run.", True))


def _outcome(run: Run, series: Series, used: Sequence[DataUsed]) -> None:
    """Say how a run ended, why, and whether the gap closed."""
    if run.state in ("failed", "lost"):
        st.error(plain(run.reason or "The run ended without a reason."), icon=":material/error:")
    elif run.reason:
        st.html(run_html.line(run.reason))
    metric = get_task(run.config.task).metric
    measured = series.get(f"validation/{metric}", ())
    if run.model_path is not None and measured and measured[-1][0] < run.step:
        words = f"The student that was kept is of step {run.step:,}; it was last measured at step {measured[-1][0]:,}."
        st.html(run_html.line(words))
    best = best_folder(run)
    if best is not None:
        step = read_json(best / "distill.json").get("step", "?")
        words = f"Its best checkpoint, of step {step}, is kept, too; it is explained beside the last one."
        st.html(run_html.line(words))
    words = run_html.verdict(metric, series, used)
    if words:
        st.html(words)


def _curves(run: Run, series: Series) -> None:
    task = get_task(run.config.task)
    constant = constant_score(series, task.metric)
    left, right = st.columns(2, gap="medium")
    with left:
        with st.container(horizontal=True, vertical_alignment="center", key="loss_title"):
            st.html(run_html.title("Loss"), width="stretch")
            view = choose_view()
            shown = st.segmented_control(
                "Loss terms",
                LOSSES,
                default=LOSSES[0],
                required=True,
                key="distill.terms",
                label_visibility="collapsed",
            )
        st.html(run_html.loss_table(run.config, series))
        terms = [name for name in series if name.startswith("weighted/")]
        names = ["loss", *terms] if shown == LOSSES[0] else [name.removeprefix("weighted/") for name in terms]
        draw_chart(run, series, names, view, "loss_curves", "Loss terms over the steps")
        st.html(run_html.line(run_html.SHARE_WORDS))
    with right:
        with st.container(horizontal=True, vertical_alignment="center", key="agreement_title"):
            st.html(run_html.title("Validation and agreement with the teacher"), width="stretch")
        st.html(run_html.agreement_table(task, constant, series, not run.active))
        alt = "Validation metric and agreement with the teacher over the steps"
        draw_chart(run, series, run_html.agreement_names(task), view, "agreement_curves", alt, constant)
        st.html(run_html.line(run_html.AGREEMENT_WORDS))


def _log(store: Store, run: Run) -> None:
    lines = store.log_tail(run.id, LOG_LINES)
    if run.active:
        if lines:
            st.code("\n".join(lines[-6:]), language=None, wrap_lines=True)
        return
    if lines:
        with st.expander("Log", expanded=run.state in ("failed", "lost"), icon=":material/notes:"):
            words = st.text_input("Find in the log", key="distill.find", placeholder="Part of a line").strip().lower()
            if words:
                lines = [line for line in store.log_tail(run.id, LOG_SEARCHED) if words in line.lower()][-LOG_FOUND:]
            if lines:
                st.code("\n".join(lines), language=None, wrap_lines=True, height=280 if len(lines) > 12 else "content")
            else:
                st.caption("No line of it has that.")
    with st.expander("Settings", icon=":material/tune:"):
        st.html(run_html.settings_table(used_settings(run)))
        st.caption("The same run from the command line; with the same data, versions and device, the same student.")
        st.code(run.config.command, language="sh", wrap_lines=True)


def _when(run: Run) -> str:
    moment = time.strftime("%d %b %H:%M", time.localtime(run.created))
    worked = run.worked_seconds(time.time())
    return moment if run.active or worked is None else f"{moment}, {exactly(worked)}"


@st.cache_data(max_entries=256, show_spinner=False)
def _score(_store: Store, path: str, run_id: str, step: int, state: str) -> tuple[int, float] | None:
    """Return step and value of a run's last evaluation, asked anew only when the run has moved."""
    del path, step, state  # part of the key: the last evaluation comes after the last step
    metric = f"validation/{get_task(_store.get(run_id).config.task).metric}"
    points = _store.metrics(run_id, names=(metric,))
    return (points[-1].step, points[-1].value) if points else None
