"""The names a run measures under: the only list of them, with titles, colour keys and order.

A name is one of the constants below, the name of a term of the loss (from the method's spec, as "ad_kd"), or a prefix
and what it is taken of ("validation/accuracy", "weighted/ad_kd"). Names are in every store written so far and in the
store's index (`migrations`): add to them, never change one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from distill_core.config.methods import all_terms
from distill_core.data.tasks import Task

# Prefixes
VALIDATION = "validation/"  # the student's task metrics on the validation examples, at every evaluation
AGREEMENT = "agreement/"  # the student's agreement with its teacher on the probe sentences, at every evaluation
TEACHER = "teacher/"  # the teacher's task metrics on the validation examples, once
CONSTANT = "constant/"  # those of a baseline with one prediction for all examples, once
WEIGHTED = "weighted/"  # a term of the loss times its weight, at every step
SHARE = "share/"  # a weighted term's share of the gradient norm, 0 to 1, every few steps
EVALUATED = (VALIDATION, AGREEMENT)  # measured at every evaluation: the store's index holds these two
RESULTS = (VALIDATION, AGREEMENT, TEACHER, CONSTANT)  # what a run reached, and what to compare it with, in this order

LOSS = "loss"
LEARNING_RATE = "learning_rate"
GRADIENT_NORM = "gradient_norm"
EXAMPLES_PER_SECOND = "examples_per_second"
STEP_SECONDS = "step_seconds"
SECONDS_LEFT = "seconds_left"
SECONDS_LEFT_LOW = "seconds_left_low"  # 10th percentile
SECONDS_LEFT_HIGH = "seconds_left_high"  # 90th percentile
CPU_PERCENT = "cpu_percent"  # of all cores
GPU_PERCENT = "gpu_percent"
GPU_MEMORY_MB = "gpu_memory_mb"
MEMORY_MB = "memory_mb"  # peak
MEMORY_FREE_MB = "memory_free_mb"
MOMENTARY = (  # their last values say nothing about the run as a whole
    LEARNING_RATE,
    SECONDS_LEFT,
    SECONDS_LEFT_LOW,
    SECONDS_LEFT_HIGH,
    CPU_PERCENT,
    GPU_PERCENT,
    GPU_MEMORY_MB,
    MEMORY_FREE_MB,
)

LABEL_LOYALTY = "agreement/label_loyalty"
SIGNED_COSINE = "agreement/signed_cosine"
COSINE = "agreement/cosine"
SPEARMAN = "agreement/spearman"


@dataclass(frozen=True)
class Metric:
    """How a measured number is shown. `color`: a key of `pages.components.palette.METRICS`."""

    title: str
    color: str = "neutral"


METRICS: Mapping[str, Metric] = {  # in the order they are shown in
    LOSS: Metric("Total loss"),
    LABEL_LOYALTY: Metric("Same prediction as the teacher", "green"),
    SIGNED_COSINE: Metric("Cosine of signed maps", "third"),
    COSINE: Metric("Cosine of unsigned maps", "first"),
    SPEARMAN: Metric("Spearman of unsigned maps", "second"),
    LEARNING_RATE: Metric("Learning rate"),
    EXAMPLES_PER_SECOND: Metric("Examples per second"),
    STEP_SECONDS: Metric("Seconds per step"),
    GRADIENT_NORM: Metric("Gradient norm"),
    SECONDS_LEFT: Metric("Seconds left"),
    SECONDS_LEFT_LOW: Metric("Seconds left, 10th percentile"),
    SECONDS_LEFT_HIGH: Metric("Seconds left, 90th percentile"),
    CPU_PERCENT: Metric("CPU, all cores (%)"),
    GPU_PERCENT: Metric("GPU (%)"),
    GPU_MEMORY_MB: Metric("GPU memory (MB)"),
    MEMORY_MB: Metric("Memory (MB)"),
    MEMORY_FREE_MB: Metric("Free memory (MB)"),
}
TASK_METRICS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearmanr": "Spearman correlation",
}
_OF_TASK = {VALIDATION: "Validation", TEACHER: "Teacher’s", CONSTANT: "Baseline"}
_OF_TERM = {WEIGHTED: "weighted", SHARE: "share of the gradient"}


def main_metric(task: Task) -> str:
    """Return the name under which a run measures its task's first metric."""
    return VALIDATION + task.metric


def evaluated_names(task: Task) -> list[str]:
    """Return what an evaluation measures, the task's first metric first; a regression has no label loyalty."""
    agreement = [name for name in METRICS if name.startswith(AGREEMENT)]
    return [main_metric(task), *(name for name in agreement if name != LABEL_LOYALTY or not task.span)]


def split_name(name: str) -> tuple[str, str]:
    """Return a name's prefix and what it is taken of; the prefix is empty for a name that has none."""
    for prefix in (*_OF_TASK, *_OF_TERM, AGREEMENT):
        if name.startswith(prefix):
            return prefix, name.removeprefix(prefix)
    return "", name


def metric_title(name: str) -> str:
    """Return the title of a measured number, sentence case; an unknown name is returned unchanged."""
    if name in METRICS:
        return METRICS[name].title
    prefix, of = split_name(name)
    if prefix in _OF_TASK:
        return f"{_OF_TASK[prefix]} {task_metric_title(of)}"
    term = _term_title(of)
    if term is None:
        return name
    return f"{term}, {_OF_TERM[prefix]}" if prefix in _OF_TERM else term


def task_metric_title(metric: str) -> str:
    """Return the title of a task's metric, for use inside a sentence; an unknown name is returned unchanged."""
    return TASK_METRICS.get(metric, metric)


def color_key(name: str) -> str:
    """Return a name's colour key, the same for a term raw, weighted and as a share; "neutral" for an unknown name."""
    if name in METRICS:
        return METRICS[name].color
    _, of = split_name(name)
    return "neutral" if _term_title(of) is None else of


def sort_key(name: str) -> tuple[int, str]:
    """Sort results before everything else, then by name."""
    return next((at for at, prefix in enumerate(RESULTS) if name.startswith(prefix)), len(RESULTS)), name


def _term_title(name: str) -> str | None:
    term = all_terms().get(name)
    return None if term is None else term.title
