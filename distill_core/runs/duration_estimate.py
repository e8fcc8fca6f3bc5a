"""How long a run will take: measured on earlier runs of its kind, or computed from a calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.data.tasks import get_task
from distill_core.devices import kind_of
from distill_core.runs import metric_names
from distill_core.runs.run import Run
from distill_core.runs.store import Store

MAX_RUNS = 3
MIN_STEPS = 5

# Measured on two CPU cores: the bundled teacher and sample of SST-2, a student of 3 layers, batch 32.
CALIBRATED_LAYERS = 3
CALIBRATED_SPEED = 145.0  # examples a second of plain KD
CALIBRATED_WORDS = 13.7  # of such an example, on average
CALIBRATED_EVALUATION = 2.0  # seconds
LOADING_SECONDS = 8.0  # from the start of a worker to its first evaluation


@dataclass(frozen=True)
class Pace:
    """The measured speed of one run: training examples a second, seconds of one evaluation, examples a step."""

    examples_per_second: float
    evaluation_seconds: float
    batch_size: int


@dataclass(frozen=True)
class DurationEstimate:
    """How many seconds a run will take, and what the number was computed from.

    `seconds`: None where there is nothing to compute it from; then `examples_per_second` is None as well.
    `measured_runs`: how many earlier runs it is the median of; 0 where it comes from the calibration.
    `same_batch_size`: whether those runs had the batch size of the run.
    """

    seconds: float | None
    examples_per_second: float | None = None
    measured_runs: int = 0
    same_batch_size: bool = True


def estimate_duration(
    store: Store, config: RunConfig, device: str, words_per_example: float | None = None
) -> DurationEstimate:
    """Return how long a run would take on a concrete kind of device, from the start of its worker to its end."""
    paces = measured_paces(store, config, device)
    if paces:
        speed = median(pace.examples_per_second for pace in paces)
        evaluation = median(pace.evaluation_seconds for pace in paces)
    elif device == "cpu" and config.made_from_teacher:
        layers = config.student_layers / CALIBRATED_LAYERS
        length = (words_per_example or CALIBRATED_WORDS) / CALIBRATED_WORDS
        speed = CALIBRATED_SPEED / (step_cost(config) * layers * length)
        evaluation = CALIBRATED_EVALUATION
    else:
        return DurationEstimate(None)
    evaluations = 1 + -(-config.steps // config.evaluate_every)
    training = config.steps * config.batch_size / speed
    return DurationEstimate(
        LOADING_SECONDS + training + evaluations * evaluation,
        speed,
        len(paces),
        not paces or paces[0].batch_size == config.batch_size,
    )


def measured_paces(store: Store, config: RunConfig, device: str) -> list[Pace]:
    """Return the paces of the latest runs of the same kind, newest first, at most MAX_RUNS.

    Runs with the same batch size, which decides most of the pace, are preferred; others count only where there is none.
    """
    alike = [
        run
        for run in store.runs(("finished", "stopped"), limit=50)
        if kind_of(run.device or "") == device and _kind(run.config) == _kind(config) and run.step >= MIN_STEPS
    ]
    same = [run for run in alike if run.config.batch_size == config.batch_size]
    measured = ((pace for run in runs if (pace := _pace(store, run)) is not None) for runs in (same, alike))
    return next((paces for runs in measured if (paces := list(islice(runs, MAX_RUNS)))), [])


def step_cost(config: RunConfig) -> float:
    """Return the mean cost of a step relative to a step of plain KD."""
    method = DISTILLATION_METHODS[config.method]
    return 1.0 + (method.cost - 1.0) * _times(config) / _every(config)


def _times(config: RunConfig) -> int:
    """Return how often a step computes the method's part, where it does."""
    settings = DISTILLATION_METHODS[config.method].cost_settings
    return min((getattr(config, name) for name in settings), default=1)


def _every(config: RunConfig) -> int:
    """Return at every how many steps the method's part is computed."""
    return config.method_every if "method_every" in DISTILLATION_METHODS[config.method].settings else 1


def _kind(config: RunConfig) -> tuple[object, ...]:
    made = (config.student_init, config.student_layers if config.made_from_teacher else None)
    return config.task, config.teacher, config.method, *made, _times(config), _every(config)


def _pace(store: Store, run: Run) -> Pace | None:
    """Split a run's time into training and evaluations; None where its numbers do not suffice."""
    metric = metric_names.main_metric(get_task(run.config.task))
    points = store.metrics(run.id, names=(metric_names.EXAMPLES_PER_SECOND, metric))
    speeds = [point.value for point in points if point.name == metric_names.EXAMPLES_PER_SECOND and point.value > 0]
    evaluations = sum(point.name == metric for point in points)
    worked = run.worked_seconds(run.ended or 0.0)
    if len(speeds) < MIN_STEPS or not evaluations or worked is None:
        return None
    rest = worked - _training_seconds(speeds, run.config.batch_size) - LOADING_SECONDS
    speed = len(speeds) / sum(1.0 / speed for speed in speeds)
    return Pace(speed, max(0.0, rest) / evaluations, run.config.batch_size)


def _training_seconds(speeds: Sequence[float], batch_size: int) -> float:
    return sum(batch_size / speed for speed in speeds)
