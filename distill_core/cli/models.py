"""Commands for models: list, add from the hub or a folder, check, remove, and list published ones."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer

from distill_core.catalog.catalog import ModelInfo, find_model, list_models
from distill_core.catalog.user_models import is_app_copy, list_user_models, remove_user_model
from distill_core.cli.output import Json, bar, byte_bar, error_console, print_json, print_rows
from distill_core.data.tasks import get_task
from distill_core.errors import DistillError, NeedsConversion, NeedsReordering
from distill_core.model_import.progress import Finding, ImportStep
from distill_core.storage.model_folder import find_model_folder

models_app = typer.Typer(invoke_without_command=True, help="List models, or add, check and remove one.")
TaskOption = Annotated[str, typer.Option(help="The task of the model.")]


@models_app.callback()
def models(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="Only those for this task.")] = None,
    as_json: Json = False,
) -> None:
    """List the bundled models, the students of runs and the models you added.

    With --json each has its plain Hugging Face folder; bundled models are unpacked for it, about 80 MB each.
    """
    if context.invoked_subcommand is None:
        _list(task, as_json)


def _list(task: str | None, as_json: bool) -> None:
    wanted = None if task is None else get_task(task).name
    models = [info for info in list_models() if wanted in (None, info.task)]
    if as_json:
        _unpack(models)
        print_json([_model_json(info) for info in models])
    else:
        shown = ("id", "task", "architecture", "layers", "parameters", "origin")
        print_rows([{name: row[name] for name in shown} for row in map(_model_json, models)])


@models_app.command("list")
def list_all(
    task: Annotated[str | None, typer.Option(help="Only those for this task.")] = None, as_json: Json = False
) -> None:
    """List models, as `models` alone does."""
    _list(task, as_json)


@models_app.command()
def add(
    model: Annotated[str, typer.Argument(help="A folder, or ORG/NAME on the Hugging Face hub.")],
    task: TaskOption,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    convert: Annotated[bool, typer.Option(help="Consent to the conversion of weights that are a pickle.")] = False,
    reorder: Annotated[bool, typer.Option(help="Make a copy with its classes in the task's order.")] = False,
    as_json: Json = False,
) -> None:
    """Add a model for a task after checking it; one on the hub is downloaded. Ctrl-C leaves no files."""
    from distill_core.model_import.importer import add_folder, add_from_hub

    local = find_model_folder(model) is not None or model.startswith((".", "/", "~"))
    try:
        added = _follow(
            add_folder(model, task, convert, reorder)
            if local
            else add_from_hub(model, task, revision, convert, reorder)
        )
    except NeedsConversion as error:
        raise NeedsConversion(f"{error} Use --convert to consent.") from error
    except NeedsReordering as error:
        raise NeedsReordering(f"{error} Use --reorder to consent.") from error
    if as_json and added is not None:
        print_json(_model_json(added))
    elif added is not None:
        error_console.print(f"{added.title} was added; its id is {added.id}")


@models_app.command()
def check(
    model: Annotated[str, typer.Argument(help="Model id or folder.")], task: TaskOption, as_json: Json = False
) -> None:
    """Check a model for a task without adding it; a failed check is an error."""
    from distill_core.model_import.checks import check_folder
    from distill_core.models.bundle import unpack

    info = find_model(model)
    findings: list[Finding] = []
    failed: DistillError | None = None
    try:
        _follow(check_folder(unpack(info), task, info.id), findings)
    except DistillError as error:
        failed = error
    if as_json:
        result = {"id": info.id, "task": task, "error": None if failed is None else str(failed)}
        print_json(result | {"findings": [asdict(one) for one in findings]})
    if failed is not None:
        raise failed


@models_app.command()
def remove(
    model: Annotated[str, typer.Argument(help="Id of a model you added.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove a model you added from the list; its files are deleted only if they are the application's copy."""
    folder = find_model_folder(model)
    ids = {model, str(folder.resolve()) if folder else model}
    entry = next((one for one in list_user_models() if one.id in ids), None)
    if entry is not None and is_app_copy(entry) and not yes:
        typer.confirm(f"Delete {entry.path}?", abort=True, err=True)
    removed = remove_user_model(entry.id if entry else model)
    if as_json:
        print_json({"id": removed.id, "path": str(removed.path), "deleted": is_app_copy(removed)})
    error_console.print(f"removed {removed.id}" + ("" if is_app_copy(removed) else f"; {removed.path} is unchanged"))


@models_app.command()
def presets(as_json: Json = False) -> None:
    """List published teachers and students that can be added by name, without using the network."""
    from distill_core.model_import.hub import PRESETS

    rows = [
        {"id": one.repo, "task": one.task, "kind": one.kind, "description": one.words} for one in PRESETS
    ]  # fmt: skip
    print_json(rows) if as_json else print_rows(rows)


def _follow(
    progress: Generator[ImportStep | Finding | ModelInfo, None, None] | Generator[ImportStep | Finding, None, None],
    findings: list[Finding] | None = None,
) -> ModelInfo | None:
    """Show the events of an import, append its findings to `findings`, and return the model it ends with."""
    with closing(progress), byte_bar() as update:
        for event in progress:
            if isinstance(event, Finding) and findings is not None:
                findings.append(event)
            if isinstance(event, ImportStep):
                update(event.what, event.done, event.total)
            elif isinstance(event, Finding) and event.passed:  # a failed one is shown as the error that follows
                error_console.print(f"{'warning' if event.warning else 'ok'}: {event.check}: {event.words}")
            elif isinstance(event, ModelInfo):
                return event
    return None


def _unpack(models: Sequence[ModelInfo]) -> None:
    """Unpack the bundled models among these, showing progress."""
    from distill_core.models.bundle import unpack

    with bar("Unpacking bundled models") as update:
        for done, info in enumerate(models):
            update(done, len(models))
            unpack(info)


def _model_json(info: ModelInfo) -> dict[str, Any]:
    return {**asdict(info), "path": str(info.path), "origin": info.origin, "size": info.size}
