"""The command line: the functions that the pages call, for scripts and for work without a browser.

A command that shows or measures something prints a table or, with `--json`, one JSON document to standard output.
Progress and messages go to standard error. A DistillError is printed as a message and ends with exit code 2.
"""

import sys

import typer

from distill_core.cli.compare import compare
from distill_core.cli.data import data_app
from distill_core.cli.explain import evaluate, examples, explain
from distill_core.cli.export import export
from distill_core.cli.models import models_app
from distill_core.cli.output import error_console
from distill_core.cli.runs import distill, runs_app
from distill_core.cli.serve import serve
from distill_core.errors import DistillError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (explain, evaluate, distill, compare, examples, serve):
    app.command()(command)
runs_app.command()(export)
app.add_typer(models_app, name="models")
app.add_typer(runs_app, name="runs")
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; print a DistillError as one line to standard error and exit with code 2."""
    try:
        app()
    except DistillError as error:
        error_console.print(f"Error: {error}", style="red", soft_wrap=True)
        sys.exit(2)
