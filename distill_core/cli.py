"""The command line: the functions the pages call, for scripts and people without a browser.

Every command prints a table for people, or with `--json` one JSON document on standard output.
Progress and messages go to standard error. A DistillError ends with its message and exit code 2.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from distill_core.catalogue import ModelInfo, find_teacher, list_models
from distill_core.config import FIELDS, METHODS, RunConfig
from distill_core.data import load_split
from distill_core.errors import DistillError
from distill_core.events import Event, Measured, Note, Phase
from distill_core.store import Run, Store
from distill_core.tasks import get_task

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
runs_app = typer.Typer(no_args_is_help=True, help="Look at runs, or stop one.")
app.add_typer(runs_app, name="runs")
# Text from outside is never markup.
error_console = Console(stderr=True, markup=False, highlight=False)
output_console = Console(markup=False, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
TaskName = Annotated[str, typer.Option(help="The task.")]


def main() -> None:
    """Run the command line; a DistillError becomes one line on standard error and exit code 2."""
    try:
        app()
    except DistillError as error:
        error_console.print(f"Error: {error}", style="red", soft_wrap=True)
        sys.exit(2)


@app.command()
def explain(
    text: Annotated[str, typer.Option(help="The text to explain.")],
    student: Annotated[list[str] | None, typer.Option(help="Student model id or folder; may be repeated.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Second text, for tasks of pairs.")] = None,
    task: TaskName = "sst2",
    teacher: Annotated[str | None, typer.Option(help="Teacher model id or folder; the task's bundled one.")] = None,
    method: Annotated[str, typer.Option(help="Attribution method.")] = "integrated_gradients",
    target: Annotated[str, typer.Option(help="pred, all, or a class name.")] = "pred",
    baseline: Annotated[str | None, typer.Option(help="zero, pad or mask; the method's own if left out.")] = None,
    output: Annotated[str, typer.Option(help="What is explained: logit or log_probability.")] = "logit",
    as_json: Json = False,
) -> None:
    """Explain one text through a teacher and its students, and say how far they agree."""
    from distill_core.explanation_cache import ExplanationCache
    from distill_core.explanations import explain as explain_text

    get_task(task)
    teacher = teacher or f"bundled/{task}-teacher"
    with _busy("Explaining"):
        explanation = explain_text(
            task, text, text_pair,
            teacher=_open(teacher, task), students=[_open(one, task) for one in student or []],
            method=method, target=target, baseline=baseline, output=output, cache=ExplanationCache(),
        )  # fmt: skip
    content = explanation.to_json()
    if as_json:
        _print_json(content)
        return
    for position, label in enumerate(dict.fromkeys(m.target for m in explanation.models[0].attributions)):
        table = Table("token", *(model.id for model in explanation.models), title=f"{method} · {label}")
        for index, token in enumerate(explanation.tokens):
            scores = (f"{model.attributions[position].scores[index]:+.4f}" for model in explanation.models)
            table.add_row(token, *scores)
        output_console.print(table)
    for model in explanation.models:
        output_console.print(f"{model.id}: {model.prediction} ({max(model.probabilities):.3f})")
    for row in explanation.consistency:
        error_console.print(f"agreement of {row.student} on {row.target}")
        _print_rows(
            [{"measure": n, "value": v, "undefined because": row.undefined.get(n)} for n, v in row.values.items()]
        )


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="Model id or folder.")],
    task: TaskName = "sst2",
    split: Annotated[str, typer.Option(help="train, validation, or another split of the task.")] = "validation",
    source: Annotated[str, typer.Option(help="auto, bundled, hub, or a GLUE folder.")] = "auto",
    as_json: Json = False,
) -> None:
    """Measure a model on a split with the task's GLUE metric."""
    from distill_core.evaluation import evaluate as measure

    data = load_split(task, split, source)
    loaded = _open(model, task)
    with _bar(f"Evaluating {model}") as progress:
        metrics = measure(loaded, data, progress=progress)
    result = {"task": task, "model": model, "source": data.source, "n": len(data.examples), "metrics": metrics}
    _print_json(result) if as_json else _print_rows([_evaluation_row(result, split)])


def _evaluation_row(result: dict[str, Any], split: str) -> dict[str, Any]:
    """Return an evaluation as one row: what was asked, then its metrics."""
    row = {name: value for name, value in result.items() if name != "metrics"} | {"split": split}
    return {**row, **result["metrics"]}


@app.command()
def distill(
    task: TaskName = "sst2",
    teacher: Annotated[str | None, typer.Option(help=f"{FIELDS['teacher'].help} The task's bundled one.")] = None,
    method: Annotated[str, typer.Option(help=f"One of: {', '.join(METHODS)}.")] = RunConfig().method,
    student_layers: Annotated[int, typer.Option(help=FIELDS["student_layers"].help)] = RunConfig().student_layers,
    source: Annotated[str, typer.Option(help=FIELDS["source"].help)] = RunConfig().source,
    train_examples: Annotated[int | None, typer.Option(help=FIELDS["train_examples"].help)] = None,
    steps: Annotated[int, typer.Option(help=FIELDS["steps"].help)] = RunConfig().steps,
    batch_size: Annotated[int, typer.Option(help=FIELDS["batch_size"].help)] = RunConfig().batch_size,
    learning_rate: Annotated[float, typer.Option(help=FIELDS["learning_rate"].help)] = RunConfig().learning_rate,
    alpha: Annotated[float, typer.Option(help=FIELDS["alpha"].help)] = RunConfig().alpha,
    temperature: Annotated[float, typer.Option(help=FIELDS["temperature"].help)] = RunConfig().temperature,
    attribution_weight: Annotated[
        float, typer.Option(help=FIELDS["attribution_weight"].help)
    ] = RunConfig().attribution_weight,
    top_k: Annotated[int | None, typer.Option(help=FIELDS["top_k"].help)] = None,
    evaluate_every: Annotated[int, typer.Option(help=FIELDS["evaluate_every"].help)] = RunConfig().evaluate_every,
    max_length: Annotated[int, typer.Option(help=FIELDS["max_length"].help)] = RunConfig().max_length,
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
        load_split(config.task, "validation", config.source)
    store = Store()
    run_id = submit(store, config)
    with _bar(f"Run {run_id}") as progress:
        run = run_in_foreground(store, run_id, _event_printer(progress, steps))
    _print_result(store, run, as_json)
    if run.state in ("failed", "lost"):
        raise typer.Exit(1)


@app.command()
def models(as_json: Json = False) -> None:
    """List the bundled models and the students of runs, each with its plain Hugging Face folder."""
    from distill_core.bundle import unpack

    found = list_models()
    with _busy("Unpacking bundled models"):
        for info in found:
            unpack(info)
    if as_json:
        _print_json([_model_json(info) for info in found])
    else:
        shown = ("id", "task", "layers", "hidden_size", "parameters", "description")
        _print_rows([{name: row[name] for name in shown} for row in map(_model_json, found)])


@app.command()
def examples(
    task: TaskName = "sst2",
    split: Annotated[str, typer.Option(help="train, validation, or another split of the task.")] = "validation",
    source: Annotated[str, typer.Option(help="auto, bundled, hub, or a GLUE folder.")] = "auto",
    limit: Annotated[int, typer.Option(min=1, help="How many to print.")] = 20,
    as_json: Json = False,
) -> None:
    """Print the first examples of a split and where they come from."""
    data = load_split(task, split, source)
    names = get_task(task).label_name
    rows = [
        {
            "index": one.index,
            "text": one.text,
            "text_pair": one.text_pair,
            "label": None if one.label is None else names(one.label),
        }
        for one in data.examples[:limit]
    ]  # fmt: skip
    if as_json:
        _print_json({"task": task, "split": split, "source": data.source, "n": len(data.examples), "examples": rows})
    else:
        error_console.print(f"{len(data.examples)} examples from {data.source}")
        _print_rows(rows)


@runs_app.command("list")
def list_runs(as_json: Json = False) -> None:
    """List all runs, newest first."""
    store = _settled_store()
    rows = [
        {"run": run.id, "state": run.status, "method": run.config.method, "step": run.step, "steps": run.config.steps,
         "reason": run.reason, "name": run.config.name}
        for run in store.runs()
    ]  # fmt: skip
    _print_json(rows) if as_json else _print_rows(rows)


@runs_app.command()
def show(run: Annotated[str, typer.Argument(help="Run id.")], as_json: Json = False) -> None:
    """Show one run: its state, settings and every number it measured."""
    store = _settled_store()
    found = store.get(run)
    if as_json:
        points = [{"step": p.step, "name": p.name, "value": _finite(p.value)} for p in store.metrics(run)]
        config = json.loads(found.config.to_json())
        _print_json({"run": run, "state": found.state, "reason": found.reason, "config": config, "metrics": points})
    else:
        _print_result(store, found, as_json=False)
        _print_rows([{"metric": name, "last value": value} for name, value in sorted(store.latest(run).items())])


@runs_app.command()
def stop(run: Annotated[str, typer.Argument(help="Run id.")]) -> None:
    """Stop a run; it keeps its student. Waits until the run has ended."""
    from distill_core import runner

    store = _settled_store()
    runner.stop(store, run)
    with _busy(f"Stopping {run}"):
        ended = runner.wait(store, run, 30)
    error_console.print(f"{run}: {ended.status} {ended.reason}")
    if ended.active:
        raise typer.Exit(1)


def _settled_store() -> Store:
    """Open the store after dead runs have been marked, so that none is shown as running."""
    from distill_core.runner import pump

    store = Store()
    pump(store)
    return store


def _open(model_id: str, task: str) -> Any:
    from distill_core.bundle import open_model

    return open_model(model_id, task=task)


def _model_json(info: ModelInfo) -> dict[str, Any]:
    return {**asdict(info), "path": str(info.path)}


def _print_result(store: Store, run: Run, as_json: bool) -> None:
    metrics = {name: _finite(value) for name, value in store.latest(run.id).items()}
    model = None if run.model_path is None else str(run.model_path)
    if as_json:
        _print_json(
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
    _print_rows([{"run": run.id, "state": run.state, "steps": run.step, "model": model}])


def _event_printer(progress: Callable[[int, int], None], steps: int) -> Callable[[Event], None]:
    def show_event(event: Event) -> None:
        if isinstance(event, Phase):
            error_console.print(f"{event.name} {event.detail}")
        elif isinstance(event, Note):
            error_console.print(event.text)
        elif isinstance(event, Measured):
            progress(event.step, steps)

    return show_event


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """Show a spinner on a terminal's standard error while something takes a while."""
    with error_console.status(f"{what}…"):
        yield


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; yields `update(done, total)`."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        task_id = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task_id, completed=done, total=total)


def _print_json(content: Any) -> None:
    sys.stdout.write(json.dumps(content, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


_IDS = ("run", "model", "id")


def _print_rows(rows: list[dict[str, Any]]) -> None:
    if not rows:
        error_console.print("nothing to show")
        return
    table = Table()
    for name in rows[0]:  # an id that is cut off, or broken over lines, cannot be given to the next command
        table.add_column(name, no_wrap=name in _IDS, overflow="ignore" if name in _IDS else "fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    output_console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _finite(value: float) -> float | None:
    """Return None for a value that is undefined (nan), since JSON has no word for it."""
    return value if value == value and abs(value) != float("inf") else None
