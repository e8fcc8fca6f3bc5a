"""All rows of the table in docs/performance.md, measured one after another on a machine that does nothing else.

    python -m benchmarks.speed_table --glue FOLDER     (about 15 minutes on two CPU cores)

Each script runs in a separate process and prints its rows of the table at its end.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("app_start", "explain_latency", "integrated_gradients", "training_step", "short_run")
READ_GLUE = {"explain_latency", "integrated_gradients", "training_step"}


def rows_of(script: str, glue: str) -> list[str]:
    """Run one script and print its output; return its rows with the script's name. Exit if it fails."""
    command = [sys.executable, str(FOLDER / f"{script}.py"), *(["--glue", glue] if script in READ_GLUE else [])]
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(FOLDER.parent)}
    rows = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("| "):
                rows.append(f"{line.rstrip()} `benchmarks/{script}.py` |")
    if process.returncode or not rows:
        raise SystemExit(f"{script} failed ({process.returncode})")
    return rows


def main(glue: Annotated[str, typer.Option(help="GLUE folder")]) -> None:
    """Run all scripts, then print the table."""
    rows = [row for script in SCRIPTS for row in rows_of(script, glue)]
    print("\n| what | measured | script |", "|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    typer.run(main)
