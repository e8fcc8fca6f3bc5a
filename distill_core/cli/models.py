"""Commands about models: list them, add one from the hub or a folder, check, remove, show what is published."""

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
TaskOption = Annotated[str, typer.Option(help="The task it is for.")]


@models_app.callback()
def models(
    context: typer.Context,
    task: Annotated[str | None, typer.Option(help="Only those for this task.")] = None,
    as_json: Json = False,
) -> None:
    """List the bundled models, the students of runs and those added.

    With --json each with its plain Hugging Face folder, for which the bundled ones are unpacked, about 80 MB each.
    """
    if context.invoked_subcommand is None:
        _list(task, as_json)


def _list(task: str | None, as_json: bool) -> None:
    wanted = None if task is None else get_task(task).name
    found = [info for info in list_models() if wanted in (None, info.task)]
    if as_json:
        _unpack(found)
        print_json([_model_json(info) for info in found])
    else:
        shown = ("id", "task", "architecture", "layers", "parameters", "origin")
        print_rows([{name: row[name] for name in shown} for row in map(_model_json, found)])


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
    convert: Annotated[bool, typer.Option(help="Consent to convert weights that are a pickle.")] = False,
    reorder: Annotated[bool, typer.Option(help="Copy it with its classes in the task's order.")] = False,
    as_json: Json = False,
) -> None:
    """Add a model for a task after checking it; one on the hub is downloaded. Ctrl-C leaves nothing behind."""
    from distill_core.model_import.importer import add_folder, add_from_hub

    local = find_model_folder(model) is not None or model.startswith((".", "/", "~"))
    try:
        added = _follow(
            add_folder(model, task, convert, reorder)
            if local
            else add_from_hub(model, task, revision, convert, reorder)
        )
    except NeedsConversion as error:
        raise NeedsConversion(f"{error} Say --convert for it.") from error
    except NeedsReordering as error:
        raise NeedsReordering(f"{error} Say --reorder for that.") from error
    if as_json and added is not None:
        print_json(_model_json(added))
    elif added is not None:
        error_console.print(f"added as {added.id}")


@models_app.command()
def check(
    model: Annotated[str, typer.Argument(help="Model id or folder.")], task: TaskOption, as_json: Json = False
) -> None:
    """Say what is found about a model for a task, without adding it; a failed check is an error."""
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
        told = {"id": info.id, "task": task, "error": None if failed is None else str(failed)}
        print_json(told | {"findings": [asdict(one) for one in findings]})
    if failed is not None:
        raise failed


@models_app.command()
def remove(
    model: Annotated[str, typer.Argument(help="Id of a model that was added.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take an added model off the list; its files are deleted only where they are the app's own copy."""
    folder = find_model_folder(model)
    names = {model, str(folder.resolve()) if folder else model}
    entry = next((one for one in list_user_models() if one.id in names), None)
    if entry is not None and is_app_copy(entry) and not yes:
        typer.confirm(f"Delete {entry.path}?", abort=True, err=True)
    gone = remove_user_model(entry.id if entry else model)
    if as_json:
        print_json({"id": gone.id, "path": str(gone.path), "deleted": is_app_copy(gone)})
    error_console.print(f"removed {gone.id}" + ("" if is_app_copy(gone) else f"; {gone.path} is left as it is"))


@models_app.command()
def presets(as_json: Json = False) -> None:
    """List published teachers and students that can be added by name; asks no server."""
    from distill_core.model_import.hub import PRESETS

    rows = [
        {"id": one.repo, "task": one.task, "kind": one.kind, "description": one.words} for one in PRESETS
    ]  # fmt: skip
    print_json(rows) if as_json else print_rows(rows)


def _follow(
    progress: Generator[ImportStep | Finding | ModelInfo, None, None] | Generator[ImportStep | Finding, None, None],
    findings: list[Finding] | None = None,
) -> ModelInfo | None:
    """Show what an import says, and return the model it ends with; what it finds is added to `findings`."""
    with closing(progress), byte_bar() as update:
        for event in progress:
            if isinstance(event, Finding) and findings is not None:
                findings.append(event)
            if isinstance(event, ImportStep):
                update(event.what, event.done, event.total)
            elif isinstance(event, Finding) and event.passed:  # a failed one is said as the error that follows
                error_console.print(f"{'warning' if event.warning else 'ok'}: {event.check}: {event.words}")
            elif isinstance(event, ModelInfo):
                return event
    return None


def _unpack(models: Sequence[ModelInfo]) -> None:
    """Make sure that each model's folder exists; shows how far it is."""
    from distill_core.models.bundle import unpack

    with bar("Unpacking bundled models") as update:
        for done, info in enumerate(models):
            update(done, len(models))
            unpack(info)


def _model_json(info: ModelInfo) -> dict[str, Any]:
    return {**asdict(info), "path": str(info.path), "origin": info.origin, "size": info.size}
