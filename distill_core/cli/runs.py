"""The commands `distill` and `runs`: train in the foreground, list runs, and stop, resume, name or delete them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from distill_core.catalog.catalog import find_model
from distill_core.cli.options import take_options
from distill_core.cli.output import Json, bar, busy, error_console, harmless, print_json, print_rows
from distill_core.config.recipes import GLUE_SIZES, RECIPES, changes_in_words, get_recipe
from distill_core.config.run_config import FIELDS, RunConfig, current_names
from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS
from distill_core.errors import ConfigError, RunError
from distill_core.export.run_export import run_document
from distill_core.runs.diagnostics import alarms
from distill_core.runs.disk_usage import freeable_size, run_size
from distill_core.runs.events import DataUsed, Event, Measured, Note, Phase
from distill_core.runs.lifecycle import FAULTY, STOP_WAIT_SECONDS, Ending, StopKind, in_one_line
from distill_core.runs.metric_names import MOMENTARY, sort_key
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.runs.students import find_student, read_student_record
from distill_core.runs.summary import data_used_words, differences, overview, search_runs
from distill_core.shell_command import shell_command
from distill_core.storage.filesystems import network_warning
from distill_core.versions import format_versions

LAST_LINES = 5  # of a failed run's log
runs_app = typer.Typer(
    no_args_is_help=True, help="List and show runs; stop, pause, resume, move, name, free or delete them."
)
RunId = Annotated[str, typer.Argument(help="Run id.")]


def distill(
    recipe: Annotated[
        str | None,
        typer.Option(help=f"Published settings, which other options override. One of: {', '.join(RECIPES)}."),
    ] = None,
    as_json: Json = False,
    **values: Any,
) -> None:
    """Distill a student in the foreground. The run is stored like any other; Ctrl-C stops it and keeps the student."""
    from distill_core.cli.foreground import run_in_foreground
    from distill_core.submission import submit

    config = config_of({name: value for name, value in values.items() if value is not None}, recipe)
    store = open_store()
    run_id = submit(store, config)
    with bar(f"Run {run_id}") as progress:
        run = run_in_foreground(store, run_id, event_printer(progress, config.steps))
    _print_result(store, run, as_json)
    if run.state in FAULTY:
        raise typer.Exit(1)


def config_of(values: Mapping[str, Any], recipe: str | None) -> RunConfig:
    """Return a run's settings: `values` over the recipe's over the defaults. Prints where the recipe's come from."""
    options = current_names(values)
    published = None if recipe is None else get_recipe(recipe)
    task = options.get("task") or (published.task if published else RunConfig().task)
    values = {"task": task, "teacher": f"bundled/{task}-teacher", **options}
    if published is None:
        return RunConfig.from_values(values)
    if (task, options.get("method", published.method)) != (published.task, published.method):
        raise ConfigError(
            f"Recipe {published.name} is for task {published.task} and method {published.method}; choose these, or "
            "leave --recipe out."
        )
    source = options.get("source") or RunConfig().source
    count = GLUE_SIZES[task] if source == "hub" else len(load_split(task, "train", source).examples)
    width = find_model(str(values["teacher"])).hidden_size
    config = RunConfig.from_values(published.values(count, width, options.get("batch_size")) | values)
    changed = changes_in_words(published, config, count, width)
    error_console.print(f"{published.name}: {published.source}. {changed}")
    return config


@runs_app.command("list")
def list_runs(
    words: Annotated[list[str] | None, typer.Argument(help="Only runs that contain all of these words.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only runs in this state; can be repeated.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only runs of this task; can be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only runs of this method; can be repeated.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only runs with this tag; if repeated, with all of them.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List runs, newest first, with the task's metric and the agreement with the teacher that each reached."""

    outcomes = overview(reconciled_store())
    rows = [
        {"run": run.id, "state": run.status, "task": run.config.task, "method": run.config.method,
         "step": run.step, "steps": run.config.steps, "metric": outcome.score, "best": outcome.best,
         "agreement": outcome.agreement, "reason": run.reason, "name": run.title, "tags": ", ".join(run.tags),
         "disk_mb": _megabytes(run_size(run.id))}
        for outcome in search_runs(outcomes, " ".join(words or ()), state or (), task or (), method or (), tag or ())
        for run in (outcome.run,)
    ]  # fmt: skip
    print_json(rows) if as_json else print_rows(rows)


@runs_app.command("compare")
def compare_runs(runs: Annotated[list[str], typer.Argument(help="Run ids.")], as_json: Json = False) -> None:
    """Compare runs: the settings in which they differ and the last value of each metric."""
    store = reconciled_store()
    compared = [store.get(run) for run in dict.fromkeys(runs)]
    settings = differences([run.config for run in compared])
    latest, ids = [store.latest(run.id) for run in compared], [run.id for run in compared]
    if as_json:
        print_json({"runs": ids, "settings": settings, "metrics": latest})
        return
    rows: dict[str, Sequence[Any]] = {
        "name": [run.title for run in compared],
        "state": [run.status for run in compared],
    }
    rows["step"] = [f"{run.step} of {run.config.steps}" for run in compared]
    rows |= settings
    data = [data_used_words(store.data_of(run.id)) for run in compared]
    rows |= {name: [one.get(name) for one in data] for name in dict.fromkeys(name for one in data for name in one)}
    rows |= {
        name: [values.get(name) for values in latest]
        for name in sorted(set().union(*latest), key=sort_key)
        if name not in MOMENTARY
    }
    print_rows([{"": name, **dict(zip(ids, values, strict=True))} for name, values in rows.items()])


@runs_app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """Show one run: its state, settings, disk space and metrics, and the end of its log if it failed."""

    store = reconciled_store()
    record = store.get(run)
    if as_json:
        points = [{"step": p.step, "name": p.name, "value": p.value} for p in store.metrics(run)]
        disk = {"disk_mb": _megabytes(run_size(run))}
        print_json(run_document(store, record) | disk | {"metrics": points})
    else:
        _print_result(store, record, as_json=False)
        error_console.print(f"again: {record.local_command}", soft_wrap=True)
        error_console.print(f"made with: {format_versions(read_student_record(record.id).get('versions'))}")
        error_console.print(f"on disk: {run_size(run) / 1e6:,.0f} MB")
        data = [asdict(used) for used in store.data_of(run)]
        print_rows(data) if data else error_console.print("the data it was trained on was not recorded")
        print_rows([{"metric": name, "last value": value} for name, value in sorted(store.latest(run).items())])
        for line in store.log_tail(run, LAST_LINES) if record.state in FAULTY else ():
            error_console.print(f"log: {line}", soft_wrap=True)


@runs_app.command()
def stop(run: RunId, as_json: Json = False) -> None:
    """Stop a run and keep its student. Waits until the run has ended."""
    _end(run, "stop", as_json)


@runs_app.command()
def pause(run: RunId, as_json: Json = False) -> None:
    """Pause a run: save a checkpoint and free the device. Waits until the run is paused."""
    _end(run, "pause", as_json)


@runs_app.command()
def resume(run: RunId) -> None:
    """Resume a paused, stopped, failed or lost run from its last checkpoint, once its device is free."""
    from distill_core.runs import scheduler

    store = reconciled_store()
    scheduler.resume(store, run)
    scheduler.reconcile(store)
    error_console.print(f"{run}: {store.get(run).status}, resumes from step {store.get(run).step}")


@runs_app.command()
def move(
    run: RunId, later: Annotated[bool, typer.Option("--later", help="Move the run back instead of forward.")] = False
) -> None:
    """Move a queued run one place forward in the queue, or back with --later."""
    store = reconciled_store()
    moved = store.reorder(store.get(run).id, earlier=not later)
    error_console.print(
        f"{run}: {'moved' if moved else 'not moved: it is not queued, or it is already at that end of the queue'}"
    )


@runs_app.command()
def rename(run: RunId, name: Annotated[str, typer.Argument(help="The new name; empty to remove it.")]) -> None:
    """Rename a run."""
    from distill_core.catalog import deletion

    error_console.print(f"{run}: {deletion.rename_run(reconciled_store(), run, name).title}")


@runs_app.command()
def note(
    run: RunId,
    text: Annotated[str, typer.Argument(help="The note; empty to remove it.")],
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag; can be repeated. Replaces the tags the run has.")
    ] = None,
) -> None:
    """Set the note and the tags of a run."""
    store = reconciled_store()
    store.annotate(store.get(run).id, note=text, tags=tag or None)
    error_console.print(f"{run}: {', '.join(store.get(run).tags) or 'no tags'}")


@runs_app.command()
def delete(
    run: RunId, yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False
) -> None:
    """Delete an ended run with its metrics, log and students. Asks for confirmation."""
    from distill_core.catalog import deletion

    store = reconciled_store()
    words = f"Delete {store.get(run).title} with its student, {run_size(run) / 1e6:,.0f} MB?"
    if not yes:
        typer.confirm(harmless(words), abort=True, err=True)
    error_console.print(f"{run} deleted, {deletion.delete_run(store, run) / 1e6:,.0f} MB are free again.")


@runs_app.command()
def free(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run ids.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete the checkpoints of ended runs; curves, settings and logs are kept. Asks for confirmation."""
    from distill_core.catalog import deletion

    store = reconciled_store()
    named = list(dict.fromkeys(runs))
    chosen = [store.get(run) for run in named]
    for run in chosen:
        if run.active:
            raise RunError(f"Run {run.id} is {run.status}; stop it first.")
    titles = ", ".join(run.title for run in chosen)
    words = f"Delete the students of {titles}, {sum(map(freeable_size, named)) / 1e6:,.0f} MB?"
    words += " They cannot be explained or resumed any more."
    if not yes:
        typer.confirm(harmless(words), abort=True, err=True)
    refused = False
    for run_id in named:
        try:
            freed = deletion.free_run(store, run_id)
        except RunError as error:  # it does not keep the others from being freed
            refused = True
            error_console.print(str(error))
        else:
            error_console.print(f"{run_id}: {freed / 1e6:,.0f} MB are free again; curves, settings and log are kept.")
    if refused:
        raise typer.Exit(2)


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)


def _end(run: str, kind: StopKind, as_json: bool) -> None:
    from distill_core.runs import scheduler

    store = reconciled_store()
    scheduler.stop(store, run, kind)
    with busy(f"{'Stopping' if kind == 'stop' else 'Pausing'} {run}"):
        ended = scheduler.wait(store, run, STOP_WAIT_SECONDS)
    _print_result(store, ended, as_json) if as_json else error_console.print(f"{run}: {_end_words(ended)}")
    if ended.active:
        raise typer.Exit(1)


def _end_words(run: Run) -> str:
    return run.status if run.active else in_one_line(Ending(run.state, run.reason))


def reconciled_store() -> Store:
    """Open the store and reconcile it with the processes, so that no dead run is shown as running."""
    from distill_core.runs.scheduler import reconcile

    store = open_store()
    reconcile(store)
    return store


def open_store() -> Store:
    """Open the store; print a warning about a damaged one and about a network folder."""
    store = Store()
    for aside in store.damaged:
        error_console.print(f"The run store was damaged and has been set aside as {aside}; delete it to silence this.")
    if warning := network_warning(store.path.parent):
        error_console.print(warning, soft_wrap=True)
    return store


take_options(distill, FIELDS.values())


def _print_result(store: Store, run: Run, as_json: bool) -> None:
    metrics = store.latest(run.id)
    folder = find_student(run.id)
    model, student = (None, None) if folder is None else (str(folder), f"run/{run.id}")
    if as_json:
        print_json(
            {
                "run": run.id,
                "state": run.state,
                "reason": run.reason,
                "steps": run.step,
                "metrics": metrics,
                "student": student,
                "model": model,
            }
        )
        return
    error_console.print(f"{run.id}: {run.status} after {run.step} steps. {run.reason}")
    series: dict[str, list[tuple[int, float]]] = {}
    for point in store.metrics(run.id):
        series.setdefault(point.name, []).append((point.step, point.value))
    for words in alarms(run.config, series):
        error_console.print(words)
    print_rows([{"run": run.id, "state": run.state, "steps": run.step, "student": student, "model": model}])
    if student is not None:
        asked = ("--task", run.config.task, "--teacher", run.config.teacher, "--student", student)
        texts = ("--text", "…", *(("--text-pair", "…") if TASKS[run.config.task].pair else ()))
        error_console.print(f"to explain a text with it: {shell_command('explain', *asked, *texts)}", soft_wrap=True)


def event_printer(progress: Callable[[int, int], None], steps: int) -> Callable[[Event], None]:
    """Return what prints a run's events to standard error and moves its progress bar, `progress(step, steps)`."""

    def show_event(event: Event) -> None:
        if isinstance(event, Phase):
            error_console.print(f"{event.name} {event.detail}")
        elif isinstance(event, Note | DataUsed):
            error_console.print(event.text)
        elif isinstance(event, Measured):
            progress(event.step, steps)

    return show_event
