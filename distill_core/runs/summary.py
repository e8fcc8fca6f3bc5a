"""The results of all runs, the search among them, and the settings in which runs differ."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import FIELDS, RunConfig, SettingValue
from distill_core.data.tasks import TASKS, get_task
from distill_core.runs.events import DataUsed
from distill_core.runs.metric_names import SIGNED_COSINE, main_metric
from distill_core.runs.run import Run
from distill_core.runs.store import Store

Evaluated = Mapping[str, tuple[int, float]]  # step and value, by metric


@dataclass(frozen=True)
class RunSummary:
    """What a run reached at its last evaluation: the task's metric and the signed cosine with its teacher's maps.

    nan where it was not evaluated or the number is undefined. `best`: the highest value of the metric, without that of
    the untrained student. `measured_at`: the step of the last evaluation, None where there was none. `seconds`: the
    time of training, None where the run never started.
    """

    run: Run
    score: float
    best: float
    agreement: float
    measured_at: int | None
    seconds: float | None


def overview(store: Store) -> list[RunSummary]:
    """Return every run with its results, newest first; it reads an index, so long runs take no longer."""
    last, best, now = store.evaluations(), store.evaluations(best=True), time.time()
    return [_summarise(run, last.get(run.id, {}), best.get(run.id, {}), now) for run in store.runs()]


def search_runs(
    outcomes: Sequence[RunSummary],
    words: str = "",
    states: Sequence[str] = (),
    tasks: Sequence[str] = (),
    methods: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> list[RunSummary]:
    """Return the runs that contain all words, have one of the states, tasks and methods, and have all of the tags.

    Words are searched for, in any case, in name, id, note, tags, reason, task, method, teacher, student and source. An
    empty argument excludes no run.
    """
    searched = words.casefold().split()

    def passes(run: Run) -> bool:
        return (
            (not states or run.status in states)
            and (not tasks or run.config.task in tasks)
            and (not methods or run.config.method in methods)
            and set(tags) <= set(run.tags)
            and all(word in _searched(run) for word in searched)
        )

    return [outcome for outcome in outcomes if passes(outcome.run)]


def tags_of(outcomes: Sequence[RunSummary]) -> list[str]:
    """Return all tags in use, in alphabetical order."""
    return sorted({tag for outcome in outcomes for tag in outcome.run.tags}, key=lambda tag: (tag.casefold(), tag))


def differences(configs: Sequence[RunConfig]) -> dict[str, tuple[SettingValue, ...]]:
    """Return the settings in which runs differ, except their names: by field, one value for each run.

    Dropout is the one that is used, not the setting, which may be `auto`.
    """
    columns: dict[str, tuple[SettingValue, ...]] = {
        name: tuple(getattr(config, name) for config in configs) for name in FIELDS if name != "name"
    }
    columns["dropout"] = tuple("on" if config.uses_dropout else "off" for config in configs)
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def data_used_words(used: Sequence[DataUsed]) -> dict[str, str]:
    """Return what a run trained and validated on: number of examples, source, and the first digits of the digest."""
    uses = {True: "Training data used", False: "Validation data used"}
    return {
        uses[one.split == "train"]: f"{one.examples:,} from {one.source} ({one.fingerprint[:8]})"
        for one in sorted(used, key=lambda one: one.split != "train")
    }


def _summarise(run: Run, last: Evaluated, best: Evaluated, now: float) -> RunSummary:
    metric = main_metric(get_task(run.config.task))
    step, score = last.get(metric, (None, math.nan))
    _, highest = best.get(metric, (None, math.nan))
    _, agreement = last.get(SIGNED_COSINE, (None, math.nan))
    return RunSummary(run, score, highest, agreement, step, run.worked_seconds(now))


def _searched(run: Run) -> str:
    config = run.config
    named = (
        DISTILLATION_METHODS[config.method].title,
        TASKS[config.task].title,
        config.teacher,
        config.student_init,
        config.source,
    )
    return "\n".join((run.id, run.name, run.note, *run.tags, run.reason, config.task, config.method, *named)).casefold()
