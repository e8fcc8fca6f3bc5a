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

    nan where it was not evaluated or the number is not defined. `best`: the metric at its highest, the untrained
    student left out. `measured_at`: the step of the last evaluation, None where there was none. `seconds`: how long it
    was worked on, None where it never was.
    """

    run: Run
    score: float
    best: float
    agreement: float
    measured_at: int | None
    seconds: float | None


def overview(store: Store) -> list[RunSummary]:
    """Return every run with what it reached, newest first; by an index, however long the runs are."""
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
    """Return the runs in which all words occur, of any of the states, tasks and methods, and with all of the tags.

    Words are looked for, whatever their case, in name, id, note, tags, reason, task, method, teacher, student and
    source. What is empty lets every run pass.
    """
    wanted = words.casefold().split()

    def passes(run: Run) -> bool:
        return (
            (not states or run.status in states)
            and (not tasks or run.config.task in tasks)
            and (not methods or run.config.method in methods)
            and set(tags) <= set(run.tags)
            and all(word in _searched(run) for word in wanted)
        )

    return [outcome for outcome in outcomes if passes(outcome.run)]


def tags_of(outcomes: Sequence[RunSummary]) -> list[str]:
    """Return all tags in use, in alphabetical order."""
    return sorted({tag for outcome in outcomes for tag in outcome.run.tags}, key=lambda tag: (tag.casefold(), tag))


def differences(configs: Sequence[RunConfig]) -> dict[str, tuple[SettingValue, ...]]:
    """Return the settings, names apart, in which runs differ: by field, one value a run; dropout as it is used."""
    columns: dict[str, tuple[SettingValue, ...]] = {
        name: tuple(getattr(config, name) for config in configs) for name in FIELDS if name != "name"
    }
    columns["dropout"] = tuple("on" if config.uses_dropout else "off" for config in configs)
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def data_used_words(used: Sequence[DataUsed]) -> dict[str, str]:
    """Return what a run trained and validated on, by use: how many examples, where from, and the digest's beginning."""
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
