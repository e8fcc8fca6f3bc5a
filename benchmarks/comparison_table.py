"""What `compare --json` measured, as Markdown tables for the docs: a row a method, differences to plain KD below.

    python -m benchmarks.comparison_table FILE.json ...

A difference whose 95 % interval leaves out 0 is set in bold.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from distill_core.comparison import WORDS
from distill_core.methods import METHODS


def main(files: Annotated[list[Path], typer.Argument(help="documents that `compare --json` printed")]) -> None:
    """Print the tables of each document."""
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        print(f"\n{content['config']['task']}, {content['seeds']} seeds, {content['config']['steps']} steps\n")
        names = list(content["rows"][0]["numbers"])
        columns = {name: name for name in names if name not in WORDS} | WORDS
        print(_line(["method", *columns.values()]))
        print(_line(["---"] * (len(columns) + 1)))
        for row in content["rows"]:
            print(_line([METHODS[row["method"]].title, *(_spread(row["numbers"][name], name) for name in columns)]))
        for row in content["rows"][1:]:
            title = f"{METHODS[row['method']].title} − KD"
            print(_line([title, *(_difference(row["differences"][name], name) for name in columns)]))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(number: dict[str, Any], name: str) -> str:
    if number["mean"] is None:
        return "–"
    spread = "" if number["deviation"] is None else f" ± {_shown(number['deviation'], name)}"
    return _shown(number["mean"], name) + spread


def _difference(number: dict[str, Any], name: str) -> str:
    if number["mean"] is None or name in ("step_seconds", "memory_mb"):
        return ""
    if number["low"] is None:
        return f"{number['mean']:+.3f}"
    words = f"{number['mean']:+.3f} [{number['low']:+.3f}, {number['high']:+.3f}]"
    return f"**{words}**" if number["low"] > 0 or number["high"] < 0 else words


def _shown(value: float, name: str) -> str:
    return f"{value:.0f}" if name == "memory_mb" else f"{value:.3f}"


if __name__ == "__main__":
    typer.run(main)
