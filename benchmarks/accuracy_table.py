"""The metric of every bundled model on its task's whole validation set, beside the majority-class baseline.

    python -m benchmarks.accuracy_table --glue FOLDER [--only cola,rte]     (about 20 minutes on one CPU core)

Each number equals what `python -m distill_core evaluate --task T --model ID --source FOLDER --json` prints.
"""

from typing import Annotated

import typer

from distill_core.catalog.catalog import bundled_models
from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS
from distill_core.metrics.task_metrics import constant_metrics
from distill_core.models.bundle import open_model
from distill_core.models.evaluation import evaluate, gold_labels

KINDS = ("teacher", "kd", "ad-kd")
WORDS = {"f1": "F1", "matthews_correlation": "Matthews correlation", "pearson": "Pearson", "spearmanr": "Spearman"}


def row(task_name: str, split: str, glue: str) -> str:
    """Measure a task's models on a split and return a row of the table, with a dash for a model that is not bundled."""
    task, data = TASKS[task_name], load_split(task_name, split, glue)
    trained_on = len(load_split(task_name, "train", glue).examples)
    names = [f"{task_name}-{kind}" for kind in KINDS]
    columns = [evaluate(open_model(f"bundled/{name}"), data) if name in bundled_models() else None for name in names]
    columns.append(constant_metrics(task, gold_labels(data)))
    where = task.short_title + (f" {split.removeprefix('validation_')}" if split != "validation" else "")
    metrics = " / ".join(WORDS.get(name, name) for name in task.metrics)
    cells = [" / ".join(f"{values[name]:.3f}" for name in task.metrics) if values else "–" for values in columns]
    return f"| {where} | {trained_on:,} | {len(data.examples):,} | {metrics} | {' | '.join(cells)} |"


def main(
    glue: Annotated[str, typer.Option(help="GLUE folder")],
    only: Annotated[str, typer.Option(help="comma-separated tasks; all that are bundled if left out")] = "",
) -> None:
    """Print the table, row by row."""
    bundled = {model.task for model in bundled_models().values()}
    print("| task | trained on | validated on | metric | teacher | KD | AD-KD | baseline |")
    print("|---|---|---|---|---|---|---|---|")
    for name, task in TASKS.items():
        if name in (only.split(",") if only else bundled):
            for split in task.evaluations:
                print(row(name, split, glue), flush=True)


if __name__ == "__main__":
    typer.run(main)
