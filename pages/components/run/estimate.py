"""How long a run will take: from earlier runs of its kind where there are any, else from a stated calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite, nan
from statistics import median

from distill_core.config.methods import METHODS
from distill_core.config.run_config import RunConfig
from distill_core.data.tasks import get_task
from distill_core.devices import kind_of
from distill_core.runs import metric_names
from distill_core.runs.diagnostics import Series
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from pages.components.run.setting_labels import device_title

RUNS_ASKED = 3
FEWEST_STEPS = 5
PACING = ("attribution_steps", "erasures_each_step", "method_every")  # settings that make a step dearer or cheaper

# Measured on two CPU cores: the bundled teacher and sample of SST-2, a student of 3 layers, batch 32.
CALIBRATED_LAYERS = 3
CALIBRATED_SPEED = 145.0  # examples a second of plain KD
CALIBRATED_WORDS = 13.7  # of such an example, on average
CALIBRATED_EVALUATION = 2.0  # seconds
LOADING_SECONDS = 8.0  # from the start of a worker to its first evaluation


@dataclass(frozen=True)
class Pace:
    """What a kind of run was measured at: training examples a second, seconds of one evaluation, examples a step."""

    examples_per_second: float
    evaluation_seconds: float
    batch_size: int


@dataclass(frozen=True)
class Estimate:
    """Seconds a run will take, None where nothing is known, and in a sentence what that is based on."""

    seconds: float | None
    basis: str


def estimate(store: Store, config: RunConfig, device: str, words: float | None = None) -> Estimate:
    """Return how long a run would take on a concrete device, from its start to its end; `words`: of an example."""
    method = METHODS[config.method].title
    paces = measured_paces(store, config, device)
    if paces:
        speed = median(pace.examples_per_second for pace in paces)
        evaluation = median(pace.evaluation_seconds for pace in paces)
        runs = "the last run" if len(paces) == 1 else f"the last {len(paces)} runs"
        other = "" if paces[0].batch_size == config.batch_size else ", with other batch sizes,"
        basis = f"Measured: {runs} of {method} on {device_title(device)}{other} did {speed:.0f} examples a second."
    elif device == "cpu" and config.made_from_teacher:
        larger = config.student_layers / CALIBRATED_LAYERS * (words or CALIBRATED_WORDS) / CALIBRATED_WORDS
        speed = CALIBRATED_SPEED / step_cost(config) / larger
        evaluation = CALIBRATED_EVALUATION
        corrected = f"the first run of {method} on this task corrects it"
        basis = f"A guess from two CPU cores ({speed:.0f} examples a second); {corrected}."
    else:
        return Estimate(None, f"No run of {method} on {device_title(device)} yet to tell from; the first one will.")
    evaluations = 1 + -(-config.steps // config.evaluate_every)
    training = config.steps * config.batch_size / speed
    return Estimate(LOADING_SECONDS + training + evaluations * evaluation, basis)


def measured_paces(store: Store, config: RunConfig, device: str) -> list[Pace]:
    """Return what the latest runs of the same kind were measured at, newest first, at most RUNS_ASKED.

    Those with the same batch size, which decides most of the pace, or any where there is none of them.
    """
    alike = [
        run
        for run in store.runs(("finished", "stopped"), limit=50)
        if kind_of(run.device or "") == device and _kind(run.config) == _kind(config) and run.step >= FEWEST_STEPS
    ]
    same = [run for run in alike if run.config.batch_size == config.batch_size]
    measured = ((pace for run in runs if (pace := _pace(store, run)) is not None) for runs in (same, alike))
    return next((paces for runs in measured if (paces := list(islice(runs, RUNS_ASKED)))), [])


def step_cost(config: RunConfig) -> float:
    """Return seconds of a step in those of plain KD, on average: what the method adds, as often as it is computed."""
    method = METHODS[config.method]
    times = config.attribution_steps if "attribution_steps" in method.settings else 1
    if "erasures_each_step" in method.settings:
        times = min(config.erasures_each_step, config.erasures)
    every = config.method_every if "method_every" in method.settings else 1
    return 1.0 + (method.cost - 1.0) * times / every


def _kind(config: RunConfig) -> tuple[object, ...]:
    made = (config.student, config.student_layers if config.made_from_teacher else None)
    pacing = (getattr(config, name) for name in PACING if name in METHODS[config.method].settings)
    return config.task, config.teacher, config.method, *made, *pacing


def _pace(store: Store, run: Run) -> Pace | None:
    """Split a run's time into training and evaluations; None where its numbers do not tell."""
    metric = metric_names.main_metric(get_task(run.config.task))
    points = store.metrics(run.id, names=(metric_names.EXAMPLES_PER_SECOND, metric))
    speeds = [point.value for point in points if point.name == metric_names.EXAMPLES_PER_SECOND and point.value > 0]
    evaluations = sum(point.name == metric for point in points)
    worked = run.worked_seconds(run.ended or 0.0)
    if len(speeds) < FEWEST_STEPS or not evaluations or worked is None:
        return None
    rest = worked - _training_seconds(speeds, run.config.batch_size) - LOADING_SECONDS
    speed = len(speeds) / sum(1.0 / speed for speed in speeds)
    return Pace(speed, max(0.0, rest) / evaluations, run.config.batch_size)


def _training_seconds(speeds: Sequence[float], batch_size: int) -> float:
    return sum(batch_size / speed for speed in speeds)


def about(seconds: float) -> str:
    """Return a span as people say it: "a few seconds", "about 50 s", "about 3 min", "about 1 h 20 min"."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {round(minutes % 60, -1):.0f} min".replace(" 0 min", "")


def between(low: float, high: float) -> str:
    """Return from which span to which: "3–5 min", "10–40 s", "1.5–2 h"; "under 2 min" where the first is next to 0."""
    if high < 8:
        return "a few seconds"
    size, digits, unit = (10, 0, "s") if high < 90 else (60, 0, "min") if high < 5400 else (3600, 1, "h")
    first, last = (round(seconds / size, digits) * (10 if unit == "s" else 1) for seconds in (low, high))
    if not first:
        return f"under {max(last, 10 if unit == 's' else 1):g} {unit}"
    return f"{last:g} {unit}" if first == last else f"{first:g}–{last:g} {unit}"


def time_left(series: Series) -> str:
    """Say how long a run will still take, from the 10th to the 90th percentile where it tells them; empty: unknown."""
    names = metric_names.SECONDS_LEFT_LOW, metric_names.SECONDS_LEFT, metric_names.SECONDS_LEFT_HIGH
    low, likely, high = (points[-1][1] if (points := series.get(name)) else nan for name in names)
    if isfinite(low) and isfinite(high):
        return between(low, high)
    return about(likely) if isfinite(likely) else ""


def exactly(seconds: float) -> str:
    """Return a span to the second: "48 s", "2 min 5 s", "1 h 2 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
