"""The command that compares methods."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer

from distill_core.cli.options import take_options
from distill_core.cli.output import Json, bar, error_console, print_json, print_rows
from distill_core.cli.runs import config_of, event_printer, reconciled_store
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.errors import ConfigError
from distill_core.runs.lifecycle import Ending, in_one_line
from distill_core.runs.run import Run
from distill_core.runs.store import Store

WEIGHTS_OPTION = typer.Option(
    help="Comma-separated METHOD=W: method weights of single methods in place of --method-weight."
)
METHODS_OPTION = typer.Option(help="Comma-separated; the others are compared with plain KD, kd.")


def compare(
    methods: Annotated[str, METHODS_OPTION] = "kd,ad_kd,gkd",
    weights: Annotated[str, WEIGHTS_OPTION] = "",
    seeds: Annotated[int, typer.Option(help="How many seeds, from --seed on.")] = 3,
    examples: Annotated[int, typer.Option(min=1, help="Validation examples that agreement is measured on.")] = 100,
    as_json: Json = False,
    **values: Any,
) -> None:
    """Compare methods over seeds, with the same data order, initial weights and steps. Can be resumed."""
    from distill_core.method_comparison import measure, plan, summarise_methods
    from distill_core.models.bundle import open_model
    from distill_core.runs.scheduler import pinned
    from distill_core.submission import check_run

    base = pinned(config_of({name: value for name, value in values.items() if value is not None}, None))
    configs = plan(base, [name.strip() for name in methods.split(",") if name.strip()], seeds, _weights(weights))
    for at, config in enumerate(configs):  # before anything is trained
        check_run(config, read_data=at == 0)  # all read the same data
    store = reconciled_store()
    models = {"teacher": base.teacher} | ({} if base.made_from_teacher else {"student": base.student_init})
    prints = {name: open_model(model, task=base.task).fingerprint for name, model in models.items()}
    try:
        runs = [_done(store, config, prints, f"{at} of {len(configs)}") for at, config in enumerate(configs, start=1)]
        source, outcomes = _source(base.teacher, base.task), []
        for run in runs:
            with bar(f"Agreement of {run.config.method}, seed {run.config.seed}") as progress:
                outcomes.append(measure(store, run, source, _source(f"run/{run.id}", base.task), examples, progress))
    except KeyboardInterrupt:
        error_console.print("Stopped. Repeat the command to continue.")
        raise typer.Exit(130) from None
    rows = summarise_methods(outcomes)
    if as_json:
        settings = {name: value for name, value in asdict(base).items() if name not in ("method", "name")}
        document: dict[str, Any] = {"config": settings, "seeds": seeds, "examples": examples}
        document["weights"] = {config.method: config.method_weight for config in configs}
        document |= {"runs": list(map(asdict, outcomes)), "rows": list(map(asdict, rows))}
        print_json(document)
        return
    print_rows([_row(name, row) for name in rows[0].numbers for row in rows])
    _explain(configs, outcomes, examples)


def _done(store: Store, config: RunConfig, prints: dict[str, str], place: str) -> Run:
    """Return the finished run of these settings: an earlier one, a resumed one or a new one."""
    from distill_core.cli.foreground import run_in_foreground
    from distill_core.method_comparison import finished, unfinished
    from distill_core.runs.scheduler import reconcile, resume
    from distill_core.submission import submit

    run, words = finished(store, config, prints), f"Run {place}: {config.method}, seed {config.seed}"
    if run is not None:
        error_console.print(f"{words}: already finished, {run.id}")
        return run
    earlier = unfinished(store, config, prints)
    run_id = submit(store, config, read_data=False) if earlier is None else earlier.id
    if earlier is not None and not earlier.active:
        resume(store, run_id)
    error_console.print(f"{words}: {run_id}" + ("" if earlier is None else f", continues from step {earlier.step}"))
    reconcile(store)  # in a process of its own, so that its memory is its own
    with bar(words) as progress, _interrupts() as interrupts:
        run = run_in_foreground(store, run_id, event_printer(progress, config.steps))
    if run.state != "finished":
        error_console.print(f"{run.id}: {in_one_line(Ending(run.state, run.reason))} Repeat the command to continue.")
        raise typer.Exit(1)
    if interrupts or run.stop_requested is not None:  # it came too late to stop this run
        raise KeyboardInterrupt
    return run


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Raise KeyboardInterrupt at Ctrl-C as usual, and record it even where the exception is handled."""
    signals: list[int] = []

    def note(number: int, _: object) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where no signal can be handled
        yield signals
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGINT, before)


def _explain(configs: list[RunConfig], outcomes: list[Any], examples: int) -> None:
    """Print below the table what its numbers are and what limits their comparison."""
    error_console.print(
        "mean ± standard deviation over seeds; minus kd: the paired difference with its 95 % confidence interval (t). "
        f"IG: integrated gradients on {examples} validation examples; G×I: gradient × input on a run's probe sentences."
    )
    if len({outcome.seed for outcome in outcomes}) < 3:
        error_console.print("With fewer than 3 seeds the intervals are not informative.")
    if len({config.uses_dropout for config in configs}) > 1:
        without = ", ".join(dict.fromkeys(config.method for config in configs if not config.uses_dropout))
        error_console.print(
            f"As published, without dropout: {without}; with dropout: the others. Use --dropout on or off for all."
        )
    for outcome in outcomes:
        for name, count in outcome.undefined.items():
            error_console.print(
                f"{outcome.method}, seed {outcome.seed}: {name} is not defined for {count} of {examples}."
            )


def _weights(text: str) -> dict[str, float]:
    """Return the weights by method; ConfigError for anything but METHOD=W."""
    weights = {}
    for part in filter(None, map(str.strip, text.split(","))):
        method, _, weight = map(str.strip, part.partition("="))
        if method in weights:
            raise ConfigError(f"{method[:40]!r} has two weights; wanted one. Leave one of them out.")
        try:
            weights[method] = float(weight)
        except ValueError as error:
            raise ConfigError(
                f"{part[:60]!r} is not the weight of a method; wanted METHOD=W, such as gkd=0.1."
            ) from error
    return weights


def _row(name: str, row: Any) -> dict[str, Any]:
    from distill_core.method_comparison import WORDS

    spread, difference = row.numbers[name], row.differences.get(name)
    shown, mean = "", None if math.isnan(spread.mean) else f"{spread.mean:.4g}"
    if mean and not math.isnan(spread.deviation):  # of one seed there is none
        mean += f" ± {spread.deviation:.2g}"
    if difference is not None and not math.isnan(difference.mean):
        shown = f"{difference.mean:+.4g}"
        shown += "" if math.isnan(difference.low) else f" [{difference.low:+.4g}, {difference.high:+.4g}]"
    return {"number": WORDS.get(name, name), "method": row.method, "mean": mean, "minus kd [95 %]": shown}


def _source(model_id: str, task: str) -> Any:
    from distill_core.explanation.lazy_model import as_lazy_model
    from distill_core.models.bundle import open_model

    return as_lazy_model(open_model(model_id, task=task))


take_options(compare, (spec for spec in FIELDS.values() if spec.name not in ("method", "name")))
