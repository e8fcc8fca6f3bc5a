"""The agreement of the two bundled students with their teacher, over the SST-2 validation sentences.

    python -m benchmarks.bundled_agreement --glue FOLDER [--limit 872] [--method integrated_gradients]

Prints mean and bootstrap 95 % interval of every agreement measure for the class that the teacher predicts, over the
tokens that are not special; one column a student, the same sentences for both.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from distill_core.attribution import ATTRIBUTION_METHODS, attribute
from distill_core.attribution.reduce import word_numbers
from distill_core.data.datasets import load_split
from distill_core.metrics.agreement import Undefined, Value, compare_maps, label_loyalty, probability_loyalty, summarise
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.evaluation import gold_labels
from distill_core.models.tokenization import Encoded, collate, encode_all

TEACHER, STUDENTS = "bundled/sst2-teacher", ("bundled/sst2-kd", "bundled/sst2-ad-kd")
BATCH = 16


def batches(rows: list[Encoded]) -> Iterator[list[int]]:
    """Yield the row numbers in batches of similar length."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


def compare(teacher: LoadedModel, student: LoadedModel, rows: list[Encoded], method: str) -> list[dict[str, Value]]:
    """Return every agreement measure of each row."""
    measured = []
    inputs = collate(rows, teacher.pad_id)
    with torch.no_grad():
        outputs = [logits(model.network, inputs) for model in (teacher, student)]
    target, words = outputs[0].argmax(dim=1), word_numbers(rows)
    maps = [attribute(method, model, inputs, target, words=words).scores for model in (teacher, student)]
    for row, keep in enumerate(inputs.mask & ~inputs.special):
        values = compare_maps(maps[0][row][keep], maps[1][row][keep], signed=ATTRIBUTION_METHODS[method].signed)
        values["label_loyalty"] = label_loyalty(outputs[0][row], outputs[1][row])
        probabilities = [torch.softmax(output[row], dim=-1) for output in outputs]
        values["probability_loyalty"] = probability_loyalty(*probabilities)
        measured.append(values)
    return measured


def summary_text(values: list[Value]) -> str:
    """Return mean, interval and the number of undefined values."""
    summary = summarise(values)
    if summary.mean is None or summary.low is None or summary.high is None:
        return f"undefined ({summary.undefined})"
    undefined = f", {summary.undefined} undefined" if summary.undefined else ""
    return f"{summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}]{undefined}"


def main(
    glue: Annotated[str, typer.Option(help="GLUE folder; the bundled sample if left out")] = "bundled",
    limit: Annotated[int, typer.Option(help="how many sentences")] = 872,
    method: Annotated[str, typer.Option(help="attribution method")] = "integrated_gradients",
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    """Measure and print the table."""
    torch.set_num_threads(threads)
    data = load_split("sst2", "validation", glue).sample(limit, 0)
    teacher = open_model(TEACHER)
    rows, gold = encode_all(teacher.tokenizer, data.examples), gold_labels(data)
    table = Table("measure", *STUDENTS, title=f"{method}, {len(rows)} sentences, {data.source}")
    columns: dict[str, list[str]] = {}
    for student in map(open_model, STUDENTS):
        values: list[dict[str, Value]] = []
        for part in track(list(batches(rows)), student.id, console=Console(stderr=True)):
            values += compare(teacher, student, [rows[row] for row in part], method)
        for name in values[0]:
            column = [one[name] for one in values]
            if not all(isinstance(value, Undefined) for value in column):
                columns.setdefault(name, []).append(summary_text(column))
    for name, cells in columns.items():
        table.add_row(name, *cells)
    Console().print(table, f"{sum(gold)} of {len(gold)} sentences are positive")


if __name__ == "__main__":
    typer.run(main)
