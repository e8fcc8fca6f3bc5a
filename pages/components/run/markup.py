"""A run's state and numbers as escaped HTML; styled by assets/runs.css, coloured as the curves are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import PROBE_EXAMPLES, RunConfig
from distill_core.data.tasks import TASKS, Task
from distill_core.devices import device_title
from distill_core.runs.diagnostics import IDLE, Points, Series
from distill_core.runs.duration_estimate import DurationEstimate
from distill_core.runs.events import DataUsed
from distill_core.runs.metric_names import (
    CPU_PERCENT,
    EXAMPLES_PER_SECOND,
    GPU_MEMORY_MB,
    GPU_PERCENT,
    GRADIENT_NORM,
    LEARNING_RATE,
    LOSS,
    MEMORY_FREE_MB,
    MEMORY_MB,
    SECONDS_LEFT,
    SECONDS_LEFT_HIGH,
    SECONDS_LEFT_LOW,
    SHARE,
    TEACHER,
    VALIDATION,
    WEIGHTED,
    evaluated_names,
    metric_title,
)
from distill_core.runs.run import Run
from distill_core.runs.verdict import Verdict
from pages.components.formatting import (
    MISSING,
    format_approximate_duration,
    format_change,
    format_count,
    format_duration,
    format_duration_range,
    format_known,
    format_number,
    format_scientific,
    format_short,
    format_size,
)
from pages.components.palette import metric_color

SPARK_POINTS, SPARK_HEIGHT = 60, 63  # resolution of a fact's sparkline; assets/curves/receiver.js uses the same
AGREEMENT_NOTE = (
    f"Agreement is measured on the probe sentences: the same {PROBE_EXAMPLES} validation examples at every evaluation, "
    "or all if there are fewer."
)
SHARE_NOTE = (
    "Of gradient: each weighted term’s share of the gradient norm, measured every ten steps (for a batch computed in "
    "parts, on its first part)."
)
LOG_WIDTH = 200  # characters of a line in the live log


@dataclass(frozen=True)
class Fact:
    """One number with its label; `points` is its history, drawn as a sparkline."""

    label: str
    value: str
    points: Points = ()


def state_chip(status: str) -> str:
    """Return a run's state as a coloured dot and a word."""
    return f'<span class="dl-chip dl-{escape(status, quote=True)}">{escape(status)}</span>'


def display_name(run: Run) -> str:
    """Return a run's name; without one, its method and the end of its id."""
    return run.name or f"{DISTILLATION_METHODS[run.config.method].title} run {run.id[-4:]}"


def header(run: Run) -> str:
    """Return a run's name, state and summary in two lines."""
    return (
        f'<div class="dl-run"><div class="dl-head"><h2><bdi>{escape(display_name(run))}</bdi></h2>'
        f"{state_chip(run.status)}<p>{escape(summary(run))}</p></div></div>"
    )


def summary(run: Run) -> str:
    """Return a run's main settings in one line."""
    config = run.config
    sources = {"auto": "", "bundled": "bundled sample", "hub": "GLUE from the hub"}
    parts = [
        TASKS[config.task].short_title,
        DISTILLATION_METHODS[config.method].title,
        student_words(config),
        f"{config.steps:,} steps of {config.batch_size}",
        sources.get(config.source, Path(config.source).name),  # `data_line` names the source that `auto` resolved to
        run.device or config.device,
        f"seed {config.seed}",
    ]
    return " · ".join(filter(None, [*parts, run.id]))


def swatch(color: str) -> str:
    """Return a coloured square for a legend."""
    return f'<div class="dl-run"><i class="dl-swatch" style="--dot:{escape(color, quote=True)}"></i></div>'


def student_words(config: RunConfig) -> str:
    """Return in words how the student is initialised."""
    teacher = Path(config.teacher).name
    words = {"first": "layers of", "even": "even layers of", "last": "last layers of", "random": "random layers like"}
    if config.student_init in words:
        return f"{config.student_layers} {words[config.student_init]} {teacher}"
    return f"{Path(config.student_init).name} taught by {teacher}"


def data_line(used: Sequence[DataUsed]) -> str:
    """Return the training and validation data of a run in one line, with their digests."""
    parts, before = [], ""
    for data in used:
        use = "Training" if data.split == "train" else "Validation"
        source = "the same source" if data.source == before else data.source
        digest = f'<code title="SHA-256 {escape(data.fingerprint)}">{escape(data.fingerprint[:8])}</code>'
        parts.append(f"{use}: {format_count(data.examples, 'example')} from <bdi>{escape(source)}</bdi> {digest}")
        before = data.source
    return f'<div class="dl-run"><p class="dl-quiet-line">{" · ".join(parts)}</p></div>'


def facts(shown: Sequence[Fact]) -> str:
    """Return the facts in one line."""
    return f'<div class="dl-run"><div class="dl-facts">{"".join(map(_fact, shown))}</div></div>'


def heading(text: str) -> str:
    """Return the heading of a section."""
    return f'<div class="dl-run"><h3>{escape(text)}</h3></div>'


def loss_table(config: RunConfig, series: Series) -> str:
    """Return the latest value of every term: raw, its weight, weighted, its share of the gradient; the total first."""
    rows = [_loss_row(LOSS, "<td></td><td></td>", _last(series, LOSS), math.nan)]
    for name, weight in config.weights.items():
        raw = f'<td>{format_short(_last(series, name))}</td><td class="dl-quiet">× {weight:.3g}</td>'
        rows.append(_loss_row(name, raw, _last(series, WEIGHTED + name), _last(series, SHARE + name)))
    return _table(("Term", "raw", "weight", "weighted", "of gradient"), rows)


def agreement_table(task: Task, constant: float | None, series: Series, ended: bool) -> str:
    """Return validation metric and agreement before training, now, and the change.

    `constant`: the score of a constant prediction (`Task.baseline_title`), None if unknown.
    """
    names = evaluated_names(task)
    rows = []
    for name in names:
        points = series.get(name, ())
        first = points[0][1] if points else math.nan
        last = points[-1][1] if len(points) > 1 else math.nan
        change = f"<td>{format_change(last - first)}</td>" if math.isfinite(last - first) else "<td></td>"
        note = "" if name != names[0] else _comparison_words(task, _last(series, TEACHER + task.metric), constant)
        heading = f'<th style="--dot:{metric_color(name)}">{escape(metric_title(name) + note)}</th>'
        rows.append(
            f'{heading}<td class="dl-quiet">{format_known(first)}</td><td><b>{format_known(last)}</b></td>{change}'
        )
    now = "last" if ended else "now"
    return _table(("", "step 0", now, "change"), rows)


def _comparison_words(task: Task, teacher: float, constant: float | None) -> str:
    """Return the teacher's and the baseline's score in parentheses."""
    parts = [f"teacher: {format_number(teacher)}"] if math.isfinite(teacher) else []
    parts += [] if constant is None else [f"{task.baseline_title}: {format_number(constant)}"]
    return f" ({', '.join(parts)})" if parts else ""


def settings_table(settings: Mapping[str, str]) -> str:
    """Return the settings of a run: label to value, both in words."""
    rows = (f"<th>{escape(label)}</th><td><bdi>{escape(value)}</bdi></td>" for label, value in settings.items())
    return _table((), list(rows))


def verdict_text(metric: str, verdict: Verdict) -> str:
    """Return the verdict in sentences: metric, label agreement, and the gap to the teacher's maps."""
    count = verdict.examples
    where = "" if count is None else f" on {format_count(count, 'example')}"
    where += ", too few to be sure" if verdict.too_few_examples else ""
    words = f"{metric_title(VALIDATION + metric)} {_change_words(*verdict.score)}{where}."
    if verdict.baseline is not None:
        better = "hardly better" if verdict.score[1] > verdict.baseline else "no better"
        words += f" That is {better} than the majority-class baseline ({format_number(verdict.baseline)})."
    if verdict.label_loyalty is not None:
        first, last = (f"{100 * share:.0f} %" for share in verdict.label_loyalty)
        of = "" if count is None else f", {verdict.probe_examples} of the validation examples"
        words += f" The student predicts as its teacher does on {last} of the probe sentences{of} (before: {first})."
    before, after = (format_number(value) for value in verdict.gap)
    move = "stayed at" if before == after else "narrowed from" if verdict.gap[1] < verdict.gap[0] else "widened from"
    gap = after if before == after else f"{before} to {after}"
    return f"{words} The gap to the teacher’s signed maps, 1 − cosine, {move} {gap}."


def verdict(metric: str, of: Verdict) -> str:
    """Return the verdict on a run as a paragraph."""
    return f'<div class="dl-run dl-verdict"><p>{escape(verdict_text(metric, of))}</p></div>'


def run_row(run: Run, metric: str, last: tuple[int, float] | None, when: str) -> str:
    """Return a run's line in the list of runs, without its name; `last`: step and value of the last evaluation."""
    score = ""
    if last is not None:
        score = f"{escape(metric)} {format_known(last[1])}" + (f" at step {last[0]:,}" if last[0] < run.step else "")
    cells = (
        state_chip(run.status),
        f"{escape(TASKS[run.config.task].short_title)} · {escape(DISTILLATION_METHODS[run.config.method].title)}",
        f"step {run.step:,} of {run.config.steps:,}",
        score,
        escape(when),
    )
    return f'<div class="dl-run dl-row">{"".join(f"<span>{cell}</span>" for cell in cells)}</div>'


def text_line(text: str, alarm: bool = False) -> str:
    """Return a line of secondary text, or of a warning."""
    return f'<div class="dl-run"><p class="{"dl-alarm" if alarm else "dl-quiet-line"}">{escape(text)}</p></div>'


def log_tail(lines: Sequence[str]) -> str:
    """Return the last lines of the live log, long ones truncated."""
    shown = escape("\n".join(line if len(line) <= LOG_WIDTH else f"{line[:LOG_WIDTH]} …" for line in lines))
    return f'<div class="dl-run"><pre class="dl-log" translate="no">{shown}</pre></div>'


def time_estimate(words: str, basis: str) -> str:
    """Return the estimated duration of a run and its basis."""
    return f'<div class="dl-run dl-estimate"><b>{escape(words)}</b><p>{escape(basis)}</p></div>'


def estimate_basis(estimate: DurationEstimate, config: RunConfig, device: str) -> str:
    """Return in a sentence what an estimate was computed from."""
    method, where = DISTILLATION_METHODS[config.method].title, device_title(device)
    if estimate.examples_per_second is None:
        return f"No run of {method} on {where} has been measured yet."
    speed = f"{estimate.examples_per_second:.0f} examples per second"
    if not estimate.measured_runs:
        return f"Estimated for two CPU cores ({speed}), until a run of {method} on this task has been measured."
    runs = "the last run" if estimate.measured_runs == 1 else f"the last {estimate.measured_runs} runs"
    other = "" if estimate.same_batch_size else ", with other batch sizes"
    return f"Based on {runs} of {method} on {where}{other}: {speed}."


def time_left(series: Series) -> str:
    """Return the remaining time of a run, as a range where the worker estimates one; empty while unknown."""
    low, likely, high = (_last(series, name) for name in (SECONDS_LEFT_LOW, SECONDS_LEFT, SECONDS_LEFT_HIGH))
    if math.isfinite(low) and math.isfinite(high):
        return format_duration_range(low, high)
    return format_approximate_duration(likely) if math.isfinite(likely) else ""


def run_facts(run: Run, series: Series, now: float) -> list[Fact]:
    """Return learning rate, speed, memory and time of a run, a dash for what is unknown."""
    worked = run.worked_seconds(now)
    passed = MISSING if worked is None else format_duration(worked)
    speed = series.get(EXAMPLES_PER_SECOND, ())
    shown = [
        Fact("Learning rate", format_scientific(_last(series, LEARNING_RATE)), series.get(LEARNING_RATE, ())),
        Fact("Examples per second", format_short(speed[-1][1] if speed else math.nan), speed),
        *_machine_facts(series),
        Fact("Gradient norm", format_short(_last(series, GRADIENT_NORM)), series.get(GRADIENT_NORM, ())),
        Fact("Time so far" if run.active else "Duration", passed),
    ]
    if run.active:
        shown.append(
            Fact(
                "Time left",
                (time_left(series).removeprefix("about ") or MISSING) if run.status == "running" else MISSING,
            )
        )
    return shown


def _machine_facts(series: Series) -> list[Fact]:
    """Return the measured use of processors, GPU and memory."""
    cpu, gpu = (series.get(name, ()) for name in (CPU_PERCENT, GPU_PERCENT))
    held, free = _last(series, GPU_MEMORY_MB), _last(series, MEMORY_FREE_MB)
    shown = [Fact("CPU, all cores", f"{cpu[-1][1]:.0f} %", cpu)] if cpu else []
    words = [f"{gpu[-1][1]:.0f} %"] if gpu else []
    words += [format_size(1e6 * held)] if math.isfinite(held) else []
    if words:
        shown.append(Fact("GPU", " · ".join(words), gpu))
    shown.append(Fact("Memory", format_size(1e6 * _last(series, MEMORY_MB)), series.get(MEMORY_MB, ())))
    return (
        [*shown, Fact("Free memory", format_size(1e6 * free), series[MEMORY_FREE_MB])] if math.isfinite(free) else shown
    )


def _change_words(before: float, after: float) -> str:
    if format_number(before) == format_number(after):
        return f"stayed at {format_number(after)}"
    return f"went from {format_number(before)} to {format_number(after)}"


def _fact(fact: Fact) -> str:
    spark = f"<div>{_spark(fact.points)}</div>"
    return f'<div class="dl-fact"><span>{escape(fact.label)}</span><b>{escape(fact.value)}</b>{spark}</div>'


def _spark(points: Points) -> str:
    """Return a sparkline as a clipped block whose text encodes the heights, "0" for 0; no script, no image."""
    points = points[:: -(-len(points) // SPARK_POINTS) or 1]
    values = [max(0.0, value) for _, value in points if math.isfinite(value)]
    top = max(values, default=0.0) or 1.0
    heights = [round(SPARK_HEIGHT * value / top) for value in values] if len(values) > 1 else []
    last = len(heights) - 1
    corners = [f"{100 * at / last:.3g}% {100 - 100 * height / SPARK_HEIGHT:.3g}%" for at, height in enumerate(heights)]
    shape = f"polygon({', '.join(['0% 100%', *corners, '100% 100%'])})"
    text = escape("".join(chr(ord("0") + height) for height in heights))
    dot = metric_color(LOSS)
    return f'<i class="dl-spark" aria-hidden="true" style="--dot:{dot};clip-path:{shape}">{text}</i>'


def _loss_row(name: str, middle: str, weighted: float, share: float) -> str:
    heading = f'<th style="--dot:{metric_color(name)}">{escape(metric_title(name))}</th>'
    part = f"{100 * share:.0f} %" if share >= IDLE else "&lt; 1 %" if share >= 0 else ""
    return f'{heading}{middle}<td><b>{format_short(weighted)}</b></td><td class="dl-quiet">{part}</td>'


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    top = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in columns)}</tr></thead>" if columns else ""
    body = "".join(f"<tr>{cells}</tr>" for cells in rows)
    return f'<div class="dl-run dl-tabled"><table class="dl-table">{top}<tbody>{body}</tbody></table></div>'


def _last(series: Series, name: str) -> float:
    points = series.get(name, ())
    return points[-1][1] if points else math.nan
