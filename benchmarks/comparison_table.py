"""Markdown tables of what `compare --json` measured: the numbers of each method and its differences to plain KD.

    python -m benchmarks.comparison_table FILE.json ...

Documents of one task are combined, so methods and seeds can be compared by several commands. A difference whose 95 %
interval excludes 0 is bold. The time of a step is left out, since it depends on what else the machine does:
`benchmarks.method_steps` measures it.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.method_comparison import WORDS, Difference, MeasuredRun, MethodRow, Spread, summarise_methods

LEFT_OUT = ("step_seconds",)
MAY_DIFFER = ("method_weight", "seed")  # settings in which the documents of one comparison may differ


def main(files: Annotated[list[Path], typer.Argument(help="documents printed by `compare --json`")]) -> None:
    """Print the tables of each task."""
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for task in dict.fromkeys(document["config"]["task"] for document in documents):
        for line in tables([document for document in documents if document["config"]["task"] == task]):
            print(line)


def tables(documents: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the tables of one task; ValueError for documents with different settings."""
    settings = [
        {name: value for name, value in document["config"].items() if name not in MAY_DIFFER}
        | {"examples": document["examples"]}
        for document in documents
    ]
    if any(other != settings[0] for other in settings):
        raise ValueError("The documents have different settings; combine only documents of one comparison.")
    weights = [
        pair for document in documents for pair in document.get("weights", {}).items()
    ]  # earlier versions wrote none
    outcomes = [_outcome(run) for document in documents for run in document["runs"]]
    if len(set(weights)) > len(dict(weights)) or len({(run.method, run.seed) for run in outcomes}) < len(outcomes):
        raise ValueError("The documents have a method with two weights, or a run twice; give each run once.")
    order = list(DISTILLATION_METHODS)
    rows = sorted(summarise_methods(outcomes), key=lambda row: order.index(row.method))
    names = [name for name in rows[0].numbers if name not in LEFT_OUT]
    ordered = sorted(names, key=lambda name: [*WORDS].index(name) if name in WORDS else -1)
    columns = [WORDS.get(name, name) for name in ordered]
    seeds = sorted({outcome.seed for outcome in outcomes})
    config = documents[0]["config"]
    return [
        f"### {config['task']}: {config['steps']} steps of {config['batch_size']}, seeds {', '.join(map(str, seeds))}",
        "",
        *_table("method", columns, {DISTILLATION_METHODS[row.method].title: _spreads(row, ordered) for row in rows}),
        "",
        *_table(
            "minus plain KD",
            [word for word, name in zip(columns, ordered, strict=True) if name != "memory_mb"],
            {
                DISTILLATION_METHODS[row.method].title: [
                    _difference(row.differences[name]) for name in ordered if name != "memory_mb"
                ]
                for row in rows
                if row.differences
            },
        ),
        "",
    ]


def _outcome(run: dict[str, Any]) -> MeasuredRun:
    numbers = {name: math.nan if value is None else value for name, value in run["numbers"].items()}
    return MeasuredRun(run["method"], run["seed"], run["run_id"], numbers, run.get("undefined", {}))


def _table(corner: str, columns: list[str], rows: dict[str, list[str]]) -> list[str]:
    lines = [[corner, *columns], ["---"] * (len(columns) + 1), *([title, *cells] for title, cells in rows.items())]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _spreads(row: MethodRow, names: list[str]) -> list[str]:
    return [_spread(row.numbers[name], 0 if name == "memory_mb" else 3) for name in names]


def _spread(number: Spread, digits: int) -> str:
    if math.isnan(number.mean):
        return "–"
    spread = "" if math.isnan(number.deviation) else f" ± {number.deviation:.{digits}f}"
    return f"{number.mean:.{digits}f}{spread}"


def _difference(number: Difference) -> str:
    if math.isnan(number.mean):
        return "–"
    if math.isnan(number.low):
        return f"{number.mean:+.3f}"
    words = f"{number.mean:+.3f} [{number.low:+.3f}, {number.high:+.3f}]"
    return f"**{words}**" if number.low > 0 or number.high < 0 else words


if __name__ == "__main__":
    typer.run(main)
