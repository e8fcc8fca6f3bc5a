"""The page of one run, and the list of the latest runs: drawn once, then `send_updates` sends what is new.

A session keeps the points of a run received so far and the cursor behind the last one, so that each tick reads only
new points from the store.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from distill_core.data.tasks import get_task
from distill_core.devices import device_title
from distill_core.runs.curve import Curve
from distill_core.runs.diagnostics import Series, alarms, constant_score
from distill_core.runs.events import DataUsed
from distill_core.runs.lifecycle import ACTIVE, FAULTY, HEARTBEAT_LATE_SECONDS
from distill_core.runs.metric_names import main_metric, task_metric_title
from distill_core.runs.queue import QueuePlace, queue_place
from distill_core.runs.run import MetricPoint, Run
from distill_core.runs.store import Store
from distill_core.runs.students import find_student, read_student_record, read_student_step
from distill_core.runs.verdict import judge
from distill_core.storage.checkpoints import BEST
from distill_core.versions import format_versions
from pages.components.formatting import format_duration, format_number
from pages.components.live_html import Parts
from pages.components.page_frame import errors_shown, escape_markdown, page_link
from pages.components.run import markup
from pages.components.run.actions import best_folder, draw_actions
from pages.components.run.curves import chart_notes, chart_points, draw_agreement, draw_loss_curves, feed_name
from pages.components.run.manage_dialog import notes_html
from pages.components.run.setting_labels import used_settings
from pages.components.streaming_chart import is_current, send

LIVE_LINES, LOG_LINES = 6, 40  # lines of the log shown during a run, and after it
MAX_LOG_MATCHES = 200  # lines shown at most
LATEST_RUNS = 8  # runs in the list
_RECEIVED, _SCORES = "distill.gathered", "distill.scores"


@dataclass
class ReceivedPoints:
    """The points of one run that a session has received: (step, value) by metric, and the last cursor.

    `started`: when the attempt began that the points belong to; a resumed run drops points after its checkpoint.
    """

    run_id: str
    started: float | None
    cursor: int = 0
    series: dict[str, Curve] = field(default_factory=dict)


def receive_points(store: Store, run: Run) -> Series:
    """Read a run's new points and return all of them; points of another run or attempt are dropped."""
    received = st.session_state.get(_RECEIVED)
    if not isinstance(received, ReceivedPoints) or (received.run_id, received.started) != (run.id, run.started):
        received = st.session_state[_RECEIVED] = ReceivedPoints(run.id, run.started)
    for point in store.metrics(run.id, after=received.cursor):
        received.series.setdefault(point.name, Curve()).append(point.step, point.value)
        received.cursor = point.cursor
    return received.series


def run_parts(store: Store, run: Run, series: Series) -> dict[str, str]:
    """Return the parts of a run's page that change while it trains, as HTML by name."""
    used, task = store.data_of(run.id), get_task(run.config.task)
    # a run that failed before its first step shows its reason, and no alarm
    messages = alarms(run.config, series) if run.step or run.state != "failed" else []
    return {
        "head": markup.header(run),
        "notes": notes_html(run),
        "alarms": "".join(markup.text_line(words, alarm=True) for words in messages),
        "data": markup.data_line(used) if used else "",
        "facts": markup.facts(markup.run_facts(run, series, time.time())),
        "loss": markup.loss_table(run.config, series),
        "agreement": markup.agreement_table(task, constant_score(series, task.metric), series, not run.active),
        "log": markup.log_tail(store.log_tail(run.id, LIVE_LINES)) if run.active else "",
    }


def draw_run(store: Store, run: Run, page: Parts) -> DeltaGenerator:
    """Draw a run with the buttons for its state; return the container of the progress bar.

    `send_updates` sends the curves' points and whatever changes.
    """
    series = receive_points(store, run)
    parts = run_parts(store, run, series)
    with st.container(horizontal=True, vertical_alignment="center", key="run_head"):
        page.draw("head", parts["head"])
        draw_actions(store, run)
        with st.container(key="new_run", width="content"):
            page_link("pages/distill.py", "New run", ":material/add:")
    page.draw("notes", parts["notes"])
    progress = st.container(key="progress")
    if not run.active:
        _draw_outcome(run, series, store.data_of(run.id))
    for name in ("alarms", "data", "facts"):
        page.draw(name, parts[name])
    left, right = st.columns(2, gap="medium")
    with left:
        st.html(markup.heading("Loss"))
        page.draw("loss", parts["loss"])
        draw_loss_curves(run)
        st.html(markup.text_line(markup.SHARE_NOTE))
    with right:
        st.html(markup.heading("Validation and agreement with the teacher"))
        page.draw("agreement", parts["agreement"])
        draw_agreement(run)
        st.html(markup.text_line(markup.AGREEMENT_NOTE))
    page.draw("log", parts["log"])
    _draw_log(store, run)
    _draw_settings(run, store.data_of(run.id))
    return progress


def send_updates(run: Run | None, series: Series, page: Parts, parts: Mapping[str, str]) -> None:
    """Send new texts of the page's parts, and new points of the shown run's curves."""
    feed, stamp = ("runs", "") if run is None else (feed_name(run), str(run.started))
    if not is_current(feed, stamp):
        page.texts.clear()
    points, marked = ({}, {}) if run is None else (chart_points(run, series), chart_notes(run, series))
    send(feed, stamp, points, notes=marked, texts=page.changes(parts))


def draw_latest_runs(store: Store, chosen: str | None, page: Parts) -> None:
    """Draw the latest runs, each name a link to its page, and a link to all runs."""
    shown = store.runs(limit=LATEST_RUNS)
    if not shown:
        return
    st.subheader("Runs")
    with st.container(key="runs", gap=None):
        for run in shown:
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                words = escape_markdown(markup.display_name(run))
                page_link("pages/distill.py", f"**{words}**" if run.id == chosen else words, run=run.id)
                page.draw(*_row(store, run))
    with st.container(key="all_runs"):
        page_link("pages/runs.py", "All runs", ":material/table_rows:")


def row_parts(store: Store) -> dict[str, str]:
    """Return the rows of the list of runs, as HTML by name."""
    return dict(_row(store, run) for run in store.runs(limit=LATEST_RUNS))


def _row(store: Store, run: Run) -> tuple[str, str]:
    metric = task_metric_title(get_task(run.config.task).metric)
    return f"row.{run.id}", markup.run_row(run, metric, _last_score(store, run), _created_words(run))


def queue_words(place: QueuePlace) -> str:
    """Return in words what a queued run waits for."""
    if place.starts_now:
        return "Queued: starts in a moment."
    nth = "next" if place.place == 1 else f"number {place.place} in the queue"
    where = " or ".join(device_title(device) for device in sorted(place.devices))
    now = f" Training now: {', '.join(map(markup.display_name, place.running))}." if place.running else ""
    return f"Queued: {nth} on {where}, which trains one run at a time.{now}"


def draw_progress(store: Store, run: Run, series: Series) -> None:
    """Draw the progress of an active run."""
    steps = run.config.steps
    if run.state == "queued":
        st.progress(0.0, text=escape_markdown(queue_words(queue_place(run, store.runs(ACTIVE)))))
        return
    silent = 0.0 if run.heartbeat is None else time.time() - run.heartbeat
    if run.status in ("stopping", "pausing"):
        words = f"{run.status.capitalize()} at step {run.step:,} of {steps:,}: the student is being saved"
    elif run.phase == "training" or run.step:
        words, left = (
            f"{(run.phase or 'training').capitalize()}: step {run.step:,} of {steps:,}",
            markup.time_left(series),
        )
        words += f", {left} left" if left else ""
    else:
        detail = f": {run.phase_detail}" if run.phase_detail else ""
        words = f"{(run.phase or 'starting').capitalize()}{detail} …"
    st.progress(min(1.0, run.step / steps), text=escape_markdown(words))
    if silent > HEARTBEAT_LATE_SECONDS:
        st.html(markup.text_line(f"No sign of the worker for {format_duration(silent)}. Wait, or stop the run.", True))


def _draw_outcome(run: Run, series: Series, used: Sequence[DataUsed]) -> None:
    """Draw how a run ended and the verdict on its student."""
    if run.state in FAULTY:
        st.error(escape_markdown(run.reason or "The run ended without giving a reason."), icon=":material/error:")
    elif run.reason:
        st.html(markup.text_line(run.reason))
    metric = get_task(run.config.task).metric
    measured = series.get(main_metric(get_task(run.config.task)), ())
    if find_student(run.id) is not None and measured and measured[-1][0] < run.step:
        words = f"The kept student is from step {run.step:,}; the last evaluation was at step {measured[-1][0]:,}."
        st.html(markup.text_line(words))
    best = best_folder(run)
    if best is not None:
        step = read_student_step(run.id, BEST)
        score = None if step is None else dict(measured).get(step)
        score_words = "" if score is None else f" ({task_metric_title(metric)} {format_number(score)})"
        named = "an unknown step" if step is None else f"step {step}{score_words}"
        words = f"The best checkpoint, from {named}, is kept as well. Explain shows both."
        st.html(markup.text_line(words))
    step = read_student_step(run.id)  # with keep=best it is not the last step
    verdict = judge(get_task(run.config.task), series, used, run.step if step is None else step)
    if verdict is not None:
        st.html(markup.verdict(metric, verdict))


def _draw_log(store: Store, run: Run) -> None:
    if not run.active and not store.log_tail(run.id, 1):
        return
    failed = run.state in FAULTY
    name = f"distill.log.{run.id}"  # with a key it stays open when elements above it come and go
    with st.expander("Log", expanded=failed, icon=":material/notes:", key=name, on_change="rerun"):
        st.fragment(_draw_log_lines)(store, run)


def _draw_log_lines(store: Store, run: Run) -> None:
    """Draw the last lines of a run's log, or the lines that contain the search text."""
    name = f"distill.find.{run.id}"
    words = st.text_input("Search the log", key=name, placeholder="Text in a line", persist_state="session").strip()
    with errors_shown():  # the run may just have been deleted
        lines = store.search_log(run.id, words, MAX_LOG_MATCHES) if words else store.log_tail(run.id, LOG_LINES)
        _draw_lines(lines, words)
    if run.active:
        st.button("Refresh", key="distill.look_again", type="tertiary", icon=":material/refresh:")


def _draw_lines(lines: Sequence[str], words: str) -> None:
    if len(lines) == MAX_LOG_MATCHES:
        st.caption(f"The last {MAX_LOG_MATCHES} matching lines.")
    if lines:
        st.code("\n".join(lines), language=None, wrap_lines=True, height=280 if len(lines) > 12 else "content")
    else:
        st.caption("No matching lines." if words else "The log is empty.")


def _draw_settings(run: Run, used: Sequence[DataUsed]) -> None:
    with st.expander("Settings", icon=":material/tune:"):
        st.html(markup.settings_table(used_settings(run, used)))
        st.caption("Repeat this run from the command line. The same data, versions and device give the same student.")
        st.code(run.local_command, language="sh", wrap_lines=True)
        made = format_versions(read_student_record(run.id).get("versions"))
        data = [f"{one.split} {one.fingerprint[:8]}" for one in used]
        st.caption(
            escape_markdown(f"Made with {made}; seed {run.config.seed}; data: {', '.join(data) or 'not recorded'}.")
        )


def _created_words(run: Run) -> str:
    moment = time.strftime("%d %b %H:%M", time.localtime(run.created))
    worked = run.worked_seconds(time.time())
    return moment if run.active or worked is None else f"{moment}, {format_duration(worked)}"


def _last_score(store: Store, run: Run) -> tuple[int, float] | None:
    """Return step and value of a run's last evaluation; the session remembers it, so only later ones are read."""
    seen: dict[object, MetricPoint] = st.session_state.setdefault(_SCORES, {})
    key = (str(store.path), run.id, run.started, run.active)
    if key not in seen or run.active:
        metric = main_metric(get_task(run.config.task))
        points = store.metrics(run.id, after=seen[key].cursor if key in seen else 0, names=(metric,))
        if points:
            seen[key] = points[-1]
    return (seen[key].step, seen[key].value) if key in seen else None
