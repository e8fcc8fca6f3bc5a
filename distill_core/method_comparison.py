"""Compare methods with the same data order, initial weights and steps, over seeds, as paired differences to plain KD.

Every run is an ordinary one of the store, so a stopped comparison can continue: a finished run with the same settings
is used as it is, and an interrupted one is resumed. Agreement is measured afterwards, by integrated gradients on the
same validation examples for all runs, and cached with the other explanations.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from scipy.stats import t as student_t

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.data.datasets import load_split
from distill_core.data.tasks import get_task
from distill_core.devices import devices_for
from distill_core.errors import ConfigError, ModelError, RunError
from distill_core.explanation.cache import ExplanationCache
from distill_core.explanation.explain import explain
from distill_core.explanation.lazy_model import LazyModel
from distill_core.explanation.request import ExplanationRequest
from distill_core.models.encoder import read_record
from distill_core.runs.lifecycle import ACTIVE, INTERRUPTED, RunState
from distill_core.runs.metric_names import COSINE, MEMORY_MB, SIGNED_COSINE, SPEARMAN, STEP_SECONDS, VALIDATION
from distill_core.runs.run import Run
from distill_core.runs.scheduler import can_resume
from distill_core.runs.store import Store
from distill_core.storage.model_folder import WEIGHTS, file_sha256
from distill_core.training.session import run_data
from distill_core.training.state import TrainingState
from distill_core.versions import versions

WORDS = {  # the numbers of a method beside its task's metrics
    "label_loyalty": "label loyalty",
    "probability_loyalty": "probability loyalty",
    "saliency_loyalty": "saliency loyalty",
    "cosine": "IG cosine, signed",
    "spearman": "IG Spearman, signed",
    "unsigned_cosine": "G×I cosine, unsigned",
    "unsigned_spearman": "G×I Spearman, unsigned",
    "signed_cosine": "G×I cosine, signed",
    STEP_SECONDS: "seconds a step",
    MEMORY_MB: "memory, MB",
}
AGREEMENT_NUMBERS = ("cosine", "spearman", "saliency_loyalty", "label_loyalty", "probability_loyalty")
PROBED = {  # the last gradient × input agreement that a run measured on its probe sentences -> its name here
    COSINE: "unsigned_cosine",
    SPEARMAN: "unsigned_spearman",
    SIGNED_COSINE: "signed_cosine",
}
CONFIDENCE = 0.95
BASELINE = "kd"  # the method that the others are compared with


@dataclass(frozen=True)
class MeasuredRun:
    """One finished run and its numbers: metrics, agreement (means over the examples), seconds, megabytes.

    `undefined`: for each agreement that is undefined on some examples, on how many; its mean leaves them out.
    """

    method: str
    seed: int
    run_id: str
    numbers: Mapping[str, float]
    undefined: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """A number over seeds: mean, standard deviation (nan for one seed) and how many seeds."""

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class Difference:
    """A paired difference to plain KD: mean over the seeds both have, and its 95 % t-interval (nan for one seed)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodRow:
    """One method: its numbers over the seeds and, for all but plain KD, their differences to plain KD's."""

    method: str
    numbers: Mapping[str, Spread]
    differences: Mapping[str, Difference]


def plan(
    base: RunConfig, methods: Sequence[str], seeds: int, weights: Mapping[str, float] | None = None
) -> list[RunConfig]:
    """Return the runs of a comparison, seed by seed, so that a stopped one has all methods for its seeds.

    `weights`: the method weights of some methods, in place of the one in `base`. ConfigError for an unknown method, no
    method, no seed, or a weight that no run would use.
    """
    unknown = [method for method in methods if method not in DISTILLATION_METHODS]
    if unknown or not methods or seeds < 1:
        wrong = f"method {unknown[0][:40]!r}" if unknown else f"{seeds} seeds of {len(methods)} methods"
        raise ConfigError(
            f"A comparison cannot have {wrong}; wanted one seed or more, and one method or more of: "
            f"{', '.join(DISTILLATION_METHODS)}."
        )
    own = weights or {}
    unread = [
        method
        for method in own
        if method not in methods or "method_weight" not in DISTILLATION_METHODS[method].settings
    ]
    if unread:
        usable = [method for method in methods if "method_weight" in DISTILLATION_METHODS[method].settings]
        raise ConfigError(
            f"A weight is given for {unread[0][:40]!r}, which is not compared or has no method weight; wanted a weight "
            f"for: {', '.join(usable) or 'none of these methods'}. Leave it out, or add the method to the comparison."
        )
    ordered = [BASELINE] * (BASELINE in methods) + [method for method in dict.fromkeys(methods) if method != BASELINE]
    return [
        replace(
            base,
            method=method,
            method_weight=own.get(method, base.method_weight),
            seed=base.seed + at,
            name=f"compare {base.task} {method} seed {base.seed + at}",
        )
        for at in range(seeds)
        for method in ordered
    ]


def finished(store: Store, config: RunConfig, fingerprints: Mapping[str, str]) -> Run | None:
    """Return the latest finished run with these settings, under any name; None where there is none.

    It has the same settings, device, data and models, was made by the same versions, and its student is undamaged.
    `fingerprints`: of the teacher, and of the model that the student starts from, as they are now.
    """
    for run in _of_these_settings(store, config, ("finished",)):
        if run.model_path is None or run.device not in devices_for(config.device):
            continue
        try:
            record = read_record(run.model_path)
            whole = record.get("weights_sha256") == file_sha256(run.model_path / WEIGHTS)
        except (ModelError, OSError):  # damaged, or deleted by hand
            continue
        if whole and record.get("fingerprints") == dict(fingerprints) and record.get("versions") == versions():
            return run
    return None


def unfinished(store: Store, config: RunConfig, fingerprints: Mapping[str, str]) -> Run | None:
    """Return the latest run with these settings and data that is queued, running, or interrupted and can be resumed.

    It can only be resumed with the models and versions it began with, and from an undamaged checkpoint; see `finished`.
    """
    earlier = _of_these_settings(store, config, ACTIVE + INTERRUPTED)
    return next((run for run in earlier if run.active or _can_continue(run, fingerprints)), None)


def _can_continue(run: Run, fingerprints: Mapping[str, str]) -> bool:
    if not can_resume(run) or run.model_path is None:
        return can_resume(run)
    try:
        record = read_record(run.model_path)
        TrainingState.read(run.model_path)
    except (ModelError, RunError):  # damaged
        return False
    return record.get("fingerprints") == dict(fingerprints) and record.get("versions") == versions()


def _of_these_settings(store: Store, config: RunConfig, states: Sequence[RunState]) -> Iterator[Run]:
    """Yield the runs in any of these states that have these settings, and this data if they have loaded it."""
    same = [run for run in store.runs(states) if replace(run.config, name=config.name) == config]
    now = {data.split: data.fingerprint for data in run_data(config)} if same else {}
    for run in same:
        if {data.split: data.fingerprint for data in store.data_of(run.id)} in ({}, now):
            yield run


def measure(
    store: Store, run: Run, teacher: LazyModel, student: LazyModel, examples: int,
    progress: Callable[[int, int], None],
) -> MeasuredRun:  # fmt: skip
    """Return a finished run's numbers, its agreement with the teacher measured on so many validation examples.

    Undefined agreements are left out of a mean; nan where none is defined.
    """
    config, task = run.config, get_task(run.config.task)
    latest = _measured(store, run)
    numbers = {name: latest.get(VALIDATION + name, math.nan) for name in task.metrics}
    data = load_split(config.task, "validation", config.source).sample(examples, 0)
    cache, agreements = ExplanationCache(), {name: list[float]() for name in AGREEMENT_NUMBERS}
    for at, example in enumerate(data.examples):
        request = ExplanationRequest(
            task=config.task, text=example.text, text_pair=example.text_pair, teacher=teacher.id,
            students=(student.id,), max_length=config.max_length,
        )  # fmt: skip
        explanation = explain(request, {teacher.id: teacher, student.id: student}.__getitem__, cache=cache)
        for name in AGREEMENT_NUMBERS:
            value = explanation.consistency[0].values.get(name)
            agreements[name] += [] if value is None else [value]
        progress(at + 1, len(data.examples))
    numbers |= {name: fmean(values) if values else math.nan for name, values in agreements.items()}
    numbers |= {name: latest.get(probed, math.nan) for probed, name in PROBED.items()}
    seconds = [point.value for point in store.metrics(run.id, names=(STEP_SECONDS,))]
    numbers[STEP_SECONDS] = fmean(seconds) if seconds else math.nan
    memory = [point.value for point in store.metrics(run.id, names=(MEMORY_MB,))]
    numbers[MEMORY_MB] = max(memory, default=math.nan)
    missing = {name: len(data.examples) - len(values) for name, values in agreements.items()}
    undefined = {name: count for name, count in missing.items() if count}
    return MeasuredRun(config.method, config.seed, run.id, numbers, undefined)


def _measured(store: Store, run: Run) -> dict[str, float]:
    """Return the last value of each number up to the step of the run's student, which need not be its last step."""
    recorded = None if run.model_path is None else read_record(run.model_path).get("step")
    step = recorded if type(recorded) is int else run.step
    return {point.name: point.value for point in store.metrics(run.id) if point.step <= step}


def summarise_methods(outcomes: Iterable[MeasuredRun]) -> list[MethodRow]:
    """Return a row for each method, in the order in which they first occur."""
    by_method: dict[str, dict[int, Mapping[str, float]]] = {}
    for outcome in outcomes:
        by_method.setdefault(outcome.method, {})[outcome.seed] = outcome.numbers
    rows = []
    for method, seeds in by_method.items():
        names = next(iter(seeds.values()))
        numbers = {name: _spread([values[name] for values in seeds.values()]) for name in names}
        shared = sorted(seeds.keys() & by_method.get(BASELINE, {}).keys()) if method != BASELINE else []
        pairs = {name: [seeds[seed][name] - by_method[BASELINE][seed][name] for seed in shared] for name in names}
        rows.append(MethodRow(method, numbers, {name: _difference(values) for name, values in pairs.items() if values}))
    return rows


def _spread(values: Sequence[float]) -> Spread:
    if not all(map(math.isfinite, values)):  # undefined for a regression, or for one of the seeds
        return Spread(math.nan, math.nan, len(values))
    return Spread(fmean(values), stdev(values) if len(values) > 1 else math.nan, len(values))


def _difference(values: Sequence[float]) -> Difference:
    mean, count = fmean(values), len(values)
    if count < 2 or not math.isfinite(mean):
        return Difference(mean, math.nan, math.nan)
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1)) * stdev(values) / math.sqrt(count)
    return Difference(mean, mean - half, mean + half)
