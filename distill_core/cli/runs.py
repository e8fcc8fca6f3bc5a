"""Commands about runs: start one in the foreground, list, show, stop."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from distill_core.catalogue import find_teacher
from distill_core.cli.output import Json, Source, TaskName, bar, busy, error_console, finite, print_json, print_rows
from distill_core.config import FIELDS, RunConfig
from distill_core.data import load_split
from distill_core.events import DataUsed, Event, Measured, Note, Phase
from distill_core.methods import METHODS
from distill_core.store import Run, Store

runs_app = typer.Typer(no_args_is_help=True, help="Look at runs, or stop one.")


def distill(
    task: TaskName = "sst2",
    teacher: Annotated[str | None, typer.Option(help=f"{FIELDS['teacher'].help} The task's bundled one.")] = None,
    method: Annotated[str, typer.Option(help=f"One of: {', '.join(METHODS)}.")] = RunConfig().method,
    student_layers: Annotated[int, typer.Option(help=FIELDS["student_layers"].help)] = RunConfig().student_layers,
    source: Source = "auto",
    train_examples: Annotated[int | None, typer.Option(help=FIELDS["train_examples"].help)] = None,
    steps: Annotated[int, typer.Option(help=FIELDS["steps"].help)] = RunConfig().steps,
    batch_size: Annotated[int, typer.Option(help=FIELDS["batch_size"].help)] = RunConfig().batch_size,
    learning_rate: Annotated[float, typer.Option(help=FIELDS["learning_rate"].help)] = RunConfig().learning_rate,
    alpha: Annotated[float, typer.Option(help=FIELDS["alpha"].help)] = RunConfig().alpha,
    temperature: Annotated[float, typer.Option(help=FIELDS["temperature"].help)] = RunConfig().temperature,
    method_weight: Annotated[float, typer.Option(help=FIELDS["method_weight"].help)] = RunConfig().method_weight,
    top_k: Annotated[int | None, typer.Option(help=FIELDS["top_k"].help)] = None,
    evaluate_every: Annotated[int, typer.Option(help=FIELDS["evaluate_every"].help)] = RunConfig().evaluate_every,
    max_length: Annotated[int, typer.Option(help=FIELDS["max_length"].help)] = RunConfig().max_length,
    patience_weight: Annotated[float, typer.Option(help=FIELDS["patience_weight"].help)] = RunConfig().patience_weight,
    matching: Annotated[str, typer.Option(help=FIELDS["matching"].help)] = RunConfig().matching,
    dropout: Annotated[str, typer.Option(help=FIELDS["dropout"].help)] = RunConfig().dropout,
    seed: Annotated[int, typer.Option(help=FIELDS["seed"].help)] = RunConfig().seed,
    device: Annotated[str, typer.Option(help=FIELDS["device"].help)] = RunConfig().device,
    name: Annotated[str, typer.Option(help=FIELDS["name"].help)] = "",
    as_json: Json = False,
) -> None:
    """Distil a student in the foreground; the run is in the store like any other. Ctrl-C stops and keeps it."""
    from distill_core.runner import submit
    from distill_core.worker import run_in_foreground

    values: dict[str, Any] = {key: value for key, value in locals().items() if key in FIELDS}
    config = RunConfig(**values | {"teacher": teacher or f"bundled/{task}-teacher"})
    find_teacher(config)
    if config.source != "hub":  # whose failure the run tells, once it has asked
        for split in ("train", "validation"):
            load_split(config.task, split, config.source)
    store = Store()
    run_id = submit(store, config)
    with bar(f"Run {run_id}") as progress:
        run = run_in_foreground(store, run_id, _event_printer(progress, steps))
    _print_result(store, run, as_json)
    if run.state in ("failed", "lost"):
        raise typer.Exit(1)


@runs_app.command("list")
def list_runs(as_json: Json = False) -> None:
    """List all runs, newest first."""
    store = settled_store()
    rows = [
        {"run": run.id, "state": run.status, "method": run.config.method, "step": run.step, "steps": run.config.steps,
         "reason": run.reason, "name": run.config.name}
        for run in store.runs()
    ]  # fmt: skip
    print_json(rows) if as_json else print_rows(rows)


@runs_app.command()
def show(run: Annotated[str, typer.Argument(help="Run id.")], as_json: Json = False) -> None:
    """Show one run: its state, settings and every number it measured."""
    store = settled_store()
    found = store.get(run)
    if as_json:
        points = [{"step": p.step, "name": p.name, "value": finite(p.value)} for p in store.metrics(run)]
        config = json.loads(found.config.to_json())
        data = [asdict(used) for used in store.data_of(run)]
        shown = {"run": run, "state": found.state, "reason": found.reason, "config": config, "data": data}
        print_json(shown | {"metrics": points})
    else:
        _print_result(store, found, as_json=False)
        data = [asdict(used) for used in store.data_of(run)]
        print_rows(data) if data else error_console.print("what it was trained on was not recorded")
        print_rows([{"metric": name, "last value": value} for name, value in sorted(store.latest(run).items())])


@runs_app.command()
def stop(run: Annotated[str, typer.Argument(help="Run id.")], as_json: Json = False) -> None:
    """Stop a run; it keeps its student. Waits until the run has ended."""
    from distill_core import runner

    store = settled_store()
    runner.stop(store, run)
    with busy(f"Stopping {run}"):
        ended = runner.wait(store, run, 30)
    _print_result(store, ended, as_json) if as_json else error_console.print(f"{run}: {ended.status} {ended.reason}")
    if ended.active:
        raise typer.Exit(1)


def settled_store() -> Store:
    """Open the store after dead runs have been marked, so that none is shown as running."""
    from distill_core.runner import pump

    store = Store()
    pump(store)
    return store


def _print_result(store: Store, run: Run, as_json: bool) -> None:
    metrics = {name: finite(value) for name, value in store.latest(run.id).items()}
    model = None if run.model_path is None else str(run.model_path)
    if as_json:
        print_json(
            {
                "run": run.id,
                "state": run.state,
                "reason": run.reason,
                "steps": run.step,
                "metrics": metrics,
                "model": model,
            }
        )
        return
    error_console.print(f"{run.id}: {run.status} after {run.step} steps. {run.reason}")
    print_rows([{"run": run.id, "state": run.state, "steps": run.step, "model": model}])


def _event_printer(progress: Callable[[int, int], None], steps: int) -> Callable[[Event], None]:
    def show_event(event: Event) -> None:
        if isinstance(event, Phase):
            error_console.print(f"{event.name} {event.detail}")
        elif isinstance(event, Note | DataUsed):
            error_console.print(event.text)
        elif isinstance(event, Measured):
            progress(event.step, steps)

    return show_event
