"""Output of the commands: tables and progress for people, one JSON document for scripts."""

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

_BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they can reverse the text that follows


class _Console(Console):
    """A console that escapes text of users and files: it interprets no markup and no control sequences."""

    def render_str(self, text: str, **keywords: Any) -> Text:  # every string and table cell passes here
        return super().render_str(harmless(text), **keywords)


def harmless(text: str) -> str:
    """Return text with control and bidirectional characters escaped, except for new lines and tabs."""
    controls = {letter for letter in text if unicodedata.category(letter) == "Cc" or letter in _BIDI_CONTROLS} - {
        "\n",
        "\t",
    }
    return "".join(_escaped(letter) if letter in controls else letter for letter in text)


def _escaped(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"


error_console = _Console(stderr=True, markup=False, highlight=False)
PIPE_WIDTH = 10_000  # columns where the output is not a terminal, so that no cell is wrapped
output_console = _Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Source = Annotated[str, typer.Option(help="auto, bundled, hub, own/ID (see `data list`), or a GLUE folder.")]
TaskName = Annotated[str, typer.Option(help="The task.")]


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show a spinner on standard error during the block, on a terminal only."""
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
    """Print one JSON document to standard output; NaN and infinities, which JSON does not have, become null."""
    sys.stdout.write(json.dumps(_finite(content), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


_IDS = ("run", "model", "student", "id")
_FOLDED = 24  # characters; longer cells may be wrapped, in a column at least this wide


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table with a column for each key of the first row; on a terminal, as many columns as fit."""
    if not rows:
        error_console.print("nothing to show")
        return
    names, widths = list(rows[0]), {name: _narrowest(rows, name) for name in rows[0]}
    while sum(widths[name] + 3 for name in names) + 1 > output_console.width and len(names) > 2:
        names.pop()
    table = Table()
    for name in names:  # an id that is cut or folded cannot be pasted into the next command
        whole = name in _IDS or widths[name] < _FOLDED
        overflow: Any = "ignore" if whole else "fold"
        table.add_column(name, no_wrap=whole, overflow=overflow, min_width=widths[name])
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    output_console.print(table)
    if left_out := list(rows[0])[len(names) :]:
        error_console.print(
            f"Not shown for lack of space: {', '.join(left_out)}. Use a wider window, a pipe or --json."
        )


def _narrowest(rows: list[dict[str, Any]], name: str) -> int:
    """Return the minimum width of a column."""
    widest = max(cell_len(harmless(text)) for text in (name, *(_cell(row[name]) for row in rows)))
    return widest if name in _IDS else min(widest, _FOLDED)


def _cell(value: Any) -> str:
    value = _finite(value)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"


def _finite(value: Any) -> Any:
    """Return a document with None in place of NaN and infinities."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
