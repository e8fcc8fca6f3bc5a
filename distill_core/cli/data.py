"""Commands for user datasets: add a file, list, remove."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from distill_core.cli.output import Json, TaskName, busy, error_console, print_json, print_rows
from distill_core.data.column_mapping import DataMapping, guess_labels, guess_mapping
from distill_core.data.tasks import get_task
from distill_core.data.user_datasets import (
    HELD_OUT,
    USER_SOURCE_PREFIX,
    UserDataset,
    add_user_dataset,
    find_user_dataset,
    list_user_datasets,
)
from distill_core.data.user_files import (
    COLUMN,
    FILE_KINDS,
    MAX_MEGABYTES,
    check_size,
    has_header,
    printable,
    read_table,
)
from distill_core.errors import ConfigError, DataError

_FIRST_LINE = "The first line was read as a row; use --header if it names the columns."
data_app = typer.Typer(no_args_is_help=True, help="Add, list or remove your datasets.")


@data_app.command()
def add(
    file: Annotated[Path, typer.Argument(help=f"A {', '.join(FILE_KINDS)} file of at most {MAX_MEGABYTES} MB.")],
    task: TaskName = "sst2",
    name: Annotated[str, typer.Option(help="Its name; empty for the file's name.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="TASK_COLUMN=FILE_COLUMN, such as sentence=review; may be repeated.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="VALUE=CLASS, such as pos=positive; may be repeated.")] = None,
    label_column: Annotated[str | None, typer.Option(help="The label column; found by its name if omitted.")] = None,
    split_column: Annotated[str | None, typer.Option(help="A column with train or validation in each row.")] = None,
    held_out: Annotated[float, typer.Option(help="Share of the rows held out for validation.")] = HELD_OUT,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line names the columns.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a file's rows and store them as a dataset; `--source own/ID` then reads it."""
    content = _content(file)
    column_names = [*_pairs("--column", column).values(), *filter(None, (label_column, split_column))]
    if header is None and any(not name.startswith(COLUMN) for name in column_names):
        header = True  # an option names a column, so the file has names
    first_line = "" if header is not None or has_header(file.name, content) else _FIRST_LINE
    with busy(f"Reading {printable(file.name)}"), _append_to_errors(first_line):
        table = read_table(file.name, content, header)
        guessed = guess_mapping(get_task(task), table)
        labels_in = label_column or guessed.label
        mapping = DataMapping(
            columns={**guessed.columns, **_pairs("--column", column)},
            label=labels_in,
            labels={**guess_labels(get_task(task), table, labels_in), **_pairs("--label", label)},
            split=split_column or guessed.split,
        )
        data = add_user_dataset(table, task, mapping, name=name, held_out=held_out)
    _print([data], as_json, single=True)
    for words in filter(None, (first_line, data.training_obstacle, data.leakage_warning)):
        error_console.print(words)


@data_app.command("list")
def list_data(as_json: Json = False) -> None:
    """List the datasets, newest first."""
    _print(list_user_datasets(), as_json)


@data_app.command()
def remove(
    data: Annotated[str, typer.Argument(help="The dataset's ID.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove a dataset; runs that used it keep their record and their student."""
    from distill_core.runs.scheduler import remove_data
    from distill_core.runs.store import Store

    if not yes:
        typer.confirm(f"Remove {_title(data)}? It cannot be undone", abort=True, err=True)
    remove_data(Store(), data)
    if as_json:
        print_json({"id": data.removeprefix(USER_SOURCE_PREFIX)})
    error_console.print(f"{data} removed")


@contextmanager
def _append_to_errors(words: str) -> Iterator[None]:
    """Append a sentence to the message of a DataError."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error} {words}".strip()) from error


def _title(data_id: str) -> str:
    """Return a dataset's title, or its ID if it is damaged."""
    try:
        return find_user_dataset(data_id).title
    except DataError:
        return data_id


def _content(file: Path) -> bytes:
    """Return a file's bytes, its size checked first."""
    try:
        check_size(printable(file.name), file.stat().st_size)
        return file.read_bytes()
    except OSError as error:
        raise DataError(
            f"{printable(str(file))} cannot be read ({error.strerror}); choose a file that exists."
        ) from error


def _pairs(option: str, values: Sequence[str] | None) -> Mapping[str, str]:
    """Return NAME=VALUE options as a mapping; ConfigError for one without an equals sign."""
    for one in values or []:
        if "=" not in one:
            raise ConfigError(f"{option} is {one!r}; wanted two names with an equals sign between: {option} A=B.")
    halves = [one.split("=", 1) for one in values or []]
    return {name.strip(): value.strip() for name, value in halves}


def _print(datasets: Sequence[UserDataset], as_json: bool, single: bool = False) -> None:
    if as_json:
        documents = [{"id": data.id, "source": data.source} | asdict(data) for data in datasets]
        print_json(documents[0] if single else documents)
        return
    rows: list[dict[str, Any]] = [
        {"id": data.id, "task": data.task, "name": data.name, "file": data.file, **data.rows, "labelled": data.labelled}
        for data in datasets
    ]
    print_rows(rows)
