"""The commands `explain`, `evaluate` and `examples`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from distill_core.cli.output import (
    Json,
    Source,
    TaskName,
    bar,
    busy,
    error_console,
    output_console,
    print_json,
    print_rows,
)
from distill_core.config.attribution_methods import ATTRIBUTION_METHODS, BASELINES, OUTPUTS
from distill_core.data.datasets import load_split
from distill_core.data.tasks import get_task
from distill_core.explanation.request import ExplanationRequest

if TYPE_CHECKING:
    from distill_core.explanation.result import Explanation


def explain(
    text: Annotated[str, typer.Option(help="The text to explain.")],
    student: Annotated[list[str] | None, typer.Option(help="Student model id or folder; may be repeated.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="The second text, for tasks on pairs of texts.")] = None,
    task: TaskName = "sst2",
    teacher: Annotated[
        str | None, typer.Option(help="Teacher model id or folder; default: the task's bundled teacher.")
    ] = None,
    method: Annotated[
        str, typer.Option(help=f"Attribution method: {', '.join(ATTRIBUTION_METHODS)}.")
    ] = "integrated_gradients",
    target: Annotated[
        str, typer.Option(help="Class to explain: pred (the teacher's prediction), all, or a class name.")
    ] = "pred",
    baseline: Annotated[
        str | None, typer.Option(help=f"Baseline: {', '.join(BASELINES)}; default: the method's own.")
    ] = None,
    output: Annotated[str, typer.Option(help=f"What is explained: {' or '.join(OUTPUTS)}.")] = "logit",
    units: Annotated[
        str,
        typer.Option(
            help="What is scored: pieces or words. With words, models with different tokenizers can be compared."
        ),
    ] = "pieces",
    seed: Annotated[int, typer.Option(help="Random seed, for a method that samples; from 0 to 2³² − 1.")] = 0,
    as_json: Json = False,
) -> None:
    """Explain one text through a teacher and its students, and print how far they agree."""
    from distill_core.explanation.cache import ExplanationCache
    from distill_core.explanation.explain import explain as explain_text
    from distill_core.models.bundle import open_model

    get_task(task)
    request = ExplanationRequest(
        task=task,
        text=text,
        text_pair=text_pair,
        teacher=teacher or f"bundled/{task}-teacher",
        students=tuple(student or ()),
        method=method,
        target=target,
        baseline=baseline,
        output=output,
        units=units,
        seed=seed,
    )
    with busy("Explaining"):
        explanation = explain_text(request, lambda model: open_model(model, task=task), cache=ExplanationCache())
    print_json(explanation.to_json()) if as_json else _print_explanation(explanation)


def _print_explanation(explanation: "Explanation") -> None:
    """Print scores, predictions, agreement by class and, for several, their mean."""
    from distill_core.explanation.result import mean_agreements

    if explanation.left_out:
        error_console.print(
            f"{explanation.left_out} {explanation.request.units} left out: the text is longer than the models can read"
        )
    several = len(explanation.models[0].attributions) > 1
    for position, label in enumerate(one.target for one in explanation.models[0].attributions):
        title = f"{explanation.request.method_spec.title} · {label}"
        table = Table(explanation.request.units, *(model.id for model in explanation.models), title=title)
        for index, token in enumerate(explanation.shown):
            scores = (f"{model.attributions[position].scores[index]:+.4f}" for model in explanation.models)
            table.add_row(token, *scores)
        output_console.print(table)
    for model in explanation.models:
        share = f" ({max(model.probabilities):.3f})" if model.probabilities else ""  # a regression has none
        output_console.print(f"{model.id}: {model.prediction}{share}")
        if model.unread:
            error_console.print(f"The vocabulary of {model.id} lacks parts of: {' '.join(model.unread)}")
    for row in (*explanation.consistency, *(mean_agreements(explanation) if several else ())):
        output_console.print(f"Agreement of {row.student} on {row.target}")
        print_rows(
            [
                {"measure": name, "value": value, "undefined because": row.undefined.get(name)}
                for name, value in row.values.items()
            ]
        )


def evaluate(
    model: Annotated[str, typer.Option(help="Model id or folder.")],
    task: TaskName = "sst2",
    split: Annotated[str, typer.Option(help="train, validation, or another split of the task.")] = "validation",
    source: Source = "auto",
    as_json: Json = False,
) -> None:
    """Measure a model on a split with the task's GLUE metric."""
    from distill_core.models.evaluation import evaluate as measure

    data = load_split(task, split, source)
    loaded = _open(model, task)
    with bar(f"Evaluating {model}") as progress:
        metrics = measure(loaded, data, progress=progress)
    result = {"task": task, "model": model, "source": data.source, "n": len(data.examples), "metrics": metrics}
    print_json(result) if as_json else print_rows([_evaluation_row(result, split)])


def _evaluation_row(result: dict[str, Any], split: str) -> dict[str, Any]:
    """Return an evaluation as one row: its settings, then its metrics."""
    row = {name: value for name, value in result.items() if name != "metrics"} | {"split": split}
    return {**row, **result["metrics"]}


def examples(
    task: TaskName = "sst2",
    split: Annotated[str, typer.Option(help="train, validation, or another split of the task.")] = "validation",
    source: Source = "auto",
    limit: Annotated[int, typer.Option(min=1, help="How many to print.")] = 20,
    as_json: Json = False,
) -> None:
    """Print the first examples of a split and where they come from."""
    data = load_split(task, split, source)
    names = get_task(task).label_name
    rows = [
        {
            "index": one.index,
            "text": one.text,
            "text_pair": one.text_pair,
            "label": None if one.label is None else names(one.label),
        }
        for one in data.examples[:limit]
    ]  # fmt: skip
    if as_json:
        print_json({"task": task, "split": split, "source": data.source, "n": len(data.examples), "examples": rows})
    else:
        error_console.print(f"{len(data.examples)} examples from {data.source}")
        print_rows(rows)


def _open(model_id: str, task: str) -> Any:
    from distill_core.models.bundle import open_model

    return open_model(model_id, task=task)
