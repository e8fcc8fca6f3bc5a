"""What the commands print: tables and progress for people, one JSON document for scripts."""

import json
import math
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # change the direction of reading


class _Console(Console):
    """A console on which text from outside is neither markup nor a command to the terminal."""

    def render_str(self, text: str, **keywords: Any) -> Text:  # what every string, and every cell, goes through
        return super().render_str(harmless(text), **keywords)


def harmless(text: str) -> str:
    """Return text with its control characters, but for new lines and tabs, written out, and those that turn a line."""
    commands = {letter for letter in text if unicodedata.category(letter) == "Cc" or letter in _TURNS} - {"\n", "\t"}
    return "".join(_written_out(letter) if letter in commands else letter for letter in text)


def _written_out(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"


error_console = _Console(stderr=True, markup=False, highlight=False)
AS_WIDE_AS_IT_IS = 10_000  # columns of output that no terminal shows: nothing is folded
output_console = _Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else AS_WIDE_AS_IT_IS)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Source = Annotated[str, typer.Option(help="auto, bundled, hub, own/ID (see `data list`), or a GLUE folder.")]
TaskName = Annotated[str, typer.Option(help="The task.")]


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show a spinner on a terminal's standard error while something takes a while."""
    with error_console.status(f"{what}…"):
        yield


@contextmanager
def byte_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar of bytes on standard error; yields `update(what, done, total)`."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        task_id = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(
            task_id, description=harmless(what), completed=done, total=total or None
        )


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; yields `update(done, total)`."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console, transient=True) as bar:
        task_id = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task_id, completed=done, total=total)


def print_json(content: Any) -> None:
    """Print one JSON document on standard output; a number that is undefined is null, since JSON has no word for it."""
    sys.stdout.write(json.dumps(_finite(content), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


_IDS = ("run", "model", "id")
_FOLDED = 24  # letters from which on a cell may be broken over lines, and the least width of its column


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table, a column for each key of the first; on a terminal, as many columns as it has room for."""
    if not rows:
        error_console.print("nothing to show")
        return
    names, widths = list(rows[0]), {name: _narrowest(rows, name) for name in rows[0]}
    while sum(widths[name] + 3 for name in names) + 1 > output_console.width and len(names) > 2:
        names.pop()
    table = Table()
    for name in names:  # an id that is cut off, or broken over lines, cannot be given to the next command
        whole = name in _IDS or widths[name] < _FOLDED
        overflow: Any = "ignore" if whole else "fold"
        table.add_column(name, no_wrap=whole, overflow=overflow, min_width=widths[name])
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    output_console.print(table)
    if left_out := list(rows[0])[len(names) :]:
        error_console.print(f"No room here for {', '.join(left_out)}: a wider window, a pipe and --json have them.")


def _narrowest(rows: list[dict[str, Any]], name: str) -> int:
    """Return the least width of a column."""
    widest = max(cell_len(harmless(text)) for text in (name, *(_cell(row[name]) for row in rows)))
    return widest if name in _IDS else min(widest, _FOLDED)


def _cell(value: Any) -> str:
    value = _finite(value)
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"


def _finite(value: Any) -> Any:
    """Return a document with None in place of what is not a number."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
