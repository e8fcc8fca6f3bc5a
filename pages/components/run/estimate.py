"""Spans of time in words, and what an estimated duration is based on."""

from math import isfinite, nan

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.devices import device_title
from distill_core.runs import metric_names
from distill_core.runs.diagnostics import Series
from distill_core.runs.duration_estimate import DurationEstimate


def estimate_basis(estimate: DurationEstimate, config: RunConfig, device: str) -> str:
    """Return in a sentence what an estimate was computed from."""
    method, where = DISTILLATION_METHODS[config.method].title, device_title(device)
    if estimate.examples_per_second is None:
        return f"No run of {method} on {where} yet to tell from; the first one will."
    speed = f"{estimate.examples_per_second:.0f} examples a second"
    if not estimate.measured_runs:
        return f"A guess from two CPU cores ({speed}); the first run of {method} on this task corrects it."
    runs = "the last run" if estimate.measured_runs == 1 else f"the last {estimate.measured_runs} runs"
    other = "" if estimate.same_batch_size else ", with other batch sizes,"
    return f"Measured: {runs} of {method} on {where}{other} did {speed}."


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
