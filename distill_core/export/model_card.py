"""A student's model card: a README.md with a YAML header, in the form of the Hugging Face hub.

Texts from outside (names, ids, paths, versions) remain plain text: quoted in YAML, and in Markdown with every special
character of Markdown and HTML escaped.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from distill_core.catalog.catalog import ModelInfo
from distill_core.config.methods import DISTILLATION_METHODS, describe_settings, terms_of
from distill_core.config.run_config import FIELDS, PROBE_EXAMPLES, VALIDATION_LIMIT, RunConfig
from distill_core.data.glue import HUB_ID
from distill_core.data.tasks import Task, get_task
from distill_core.data.user_datasets import USER_SOURCE_PREFIX
from distill_core.errors import ModelError
from distill_core.runs.diagnostics import Series
from distill_core.runs.events import DataUsed
from distill_core.runs.metric_names import AGREEMENT, CONSTANT, TEACHER, VALIDATION
from distill_core.runs.run import MetricPoint, Run
from distill_core.versions import format_versions

_BEGINNINGS = {
    "first": "the first layers of its teacher",
    "even": "evenly spaced layers of its teacher",
    "last": "the last layers of its teacher",
    "random": "random weights",
}


def model_card(
    run: Run, info: ModelInfo, record: Mapping[str, Any], data: Sequence[DataUsed], points: Sequence[MetricPoint]
) -> str:
    """Return the card of a run's student as Markdown.

    `info`: the student; `record`: its `distill.json` with its step; `data`, `points`: from the store, empty if nothing
    was recorded. ModelError if the record is damaged.
    """
    task, step = get_task(run.config.task), _count(record, "step")
    series: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        series.setdefault(point.name, []).append((point.step, point.value))
    parts = [
        _header(run.config, task, data),
        f"# {markdown_text(run.title)}",
        _what(run, info, task, step, _count(record, "best")),
        "## How it was distilled",
        *_method(run.config, task),
        "## Settings that are not the default",
        _settings(run.config),
        "## Data",
        _data(data),
        "## Results",
        *_results(task, series, step),
        "## Do it again",
        code_block(run.command, "sh"),
        _versions(record),
        "## Limits",
        _limits(run.config),
        "## How to load it",
        code_block(_snippet(run.config, task), "python"),
    ]
    return "\n\n".join(parts) + "\n"


def valid_unicode(text: str) -> str:
    """Return a text with U+FFFD in place of each lone surrogate, which no file could hold."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def markdown_text(text: str) -> str:
    """Return a text from outside as Markdown that shows exactly this text on one line.

    Escapes HTML and the characters of Markdown, tables, formulas, links and mentions; control characters and runs of
    blanks become one space, invalid Unicode characters U+FFFD.
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in valid_unicode(text)).split())
    marked = re.sub(r"([\\`*_{}\[\]#|~$:@!])", r"\\\1", line)
    marked = re.sub(r"(?i)(www)\.", r"\1\\.", marked)
    return html.escape(marked, quote=True)


def code_block(text: str, language: str) -> str:
    """Return a text as a fenced code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _header(config: RunConfig, task: Task, data: Sequence[DataUsed]) -> str:
    """Return the YAML header; no licence, which is not known, and no data set unless the examples were GLUE's."""
    from huggingface_hub import ModelCardData  # in here: the command line loads this module for every command

    fields = ModelCardData(
        language=["en"],
        library_name="transformers",
        tags=["knowledge-distillation", "distillation-lens", config.method],
        datasets=[f"glue/{task.name}"] if _is_glue(config, data) else None,
        metrics=list(task.metrics),
        pipeline_tag="text-classification",
        teacher=valid_unicode(config.teacher),
    )
    return f"---\n{fields.to_yaml()}\n---"


def _is_glue(config: RunConfig, data: Sequence[DataUsed]) -> bool:
    """Return whether the examples are known to be GLUE's, not a user's or the bundled ones."""
    if config.source == "hub":
        return True
    if config.source == "bundled" or config.source.startswith(USER_SOURCE_PREFIX) or not data:
        return False
    return all(used.source.startswith(("GLUE folder ", HUB_ID)) for used in data)


def _what(run: Run, info: ModelInfo, task: Task, step: int, best: int) -> str:
    size = [f"{info.layers} layer{'s' * (info.layers != 1)}"] if info.layers else []  # 0: its config does not say
    size += [f"{info.parameters:,} parameters"] if info.parameters else []
    size += [markdown_text(info.architecture)] if info.architecture else []
    low, high = task.span or (0.0, 0.0)
    answers = (
        f"a score from {low:g} to {high:g}" if task.span else f"one of: {', '.join(map(markdown_text, task.labels))}"
    )
    checkpoint = f"This is its student after step {step:,} of {run.config.steps:,}"
    marked = {step: ", its best evaluation"}.get(best, f"; its best evaluation was after step {best:,}" if best else "")
    reason = f" ({markdown_text(run.reason)})" if run.reason else ""
    return (
        f"A small text classifier ({', '.join(size) or 'size unknown'}) for {task.title}, distilled from the teacher "
        f"{markdown_text(run.config.teacher)} with Distillation Lens. It answers with {answers}.\n\n"
        f"Run {markdown_text(run.id)}: {run.status}{reason}. {checkpoint}{marked}."
    )


def _method(config: RunConfig, task: Task) -> list[str]:
    """Return the method in words: what it teaches, the terms of its loss, how they are set, and the papers."""
    method, scores = DISTILLATION_METHODS[config.method], task.span is not None
    begins = _BEGINNINGS.get(config.student_init, f"the model {markdown_text(config.student_init)}")
    terms = terms_of(config.method, scores, config.kd_form)
    lines = [f"- {term.title}, weight {config.weights[term.name]:.6g}. {term.words}" for term in terms]
    settings = {name: getattr(config, name) for name in method.settings}
    teacher, layers = (
        markdown_text(config.teacher),
        f", {config.student_layers} of them" * (config.student_init in _BEGINNINGS),
    )
    if config.student_init == "random":
        layers = f" in {config.student_layers} layer{'s' * (config.student_layers != 1)}"
    parts = [
        f"Method: **{method.title}** (`{config.method}`). {method.score_words if scores else method.words}",
        f"Teacher: {teacher}. The student began as {begins}{layers}, and was trained for at most {config.steps:,} "
        f"steps of {config.batch_size} examples with temperature τ = {config.temperature:g}.",
        "The loss is the weighted sum of:",
        "\n".join(lines),
        describe_settings(config.method, settings, task.classes),
        f"Source: {'; '.join(paper.citation for paper in method.papers)}.",
    ]
    return [part for part in parts if part]


def _settings(config: RunConfig) -> str:
    rows = [
        (f"{spec.label} (`{name}`)", markdown_text(str(getattr(config, name))))
        for name, spec in FIELDS.items()
        if getattr(config, name) != spec.default
    ]
    return _table(("setting", "value"), rows) if rows else "None."


def _data(data: Sequence[DataUsed]) -> str:
    if not data:
        return "The training data were not recorded."
    rows = [
        (markdown_text(one.split), markdown_text(one.source), f"{one.examples:,}", markdown_text(one.fingerprint))
        for one in data
    ]
    return _table(("split", "source", "examples", "fingerprint (SHA-256 of texts and labels in order)"), rows)


def _results(task: Task, series: Series, step: int) -> list[str]:
    """Return the measurements on the validation data; `step`: that of the card's student."""
    wanted = [VALIDATION + metric for metric in task.metrics]
    wanted += sorted(name for name in series if name.startswith(AGREEMENT))
    rows = [_result(series, name, step) for name in wanted if series.get(name)]
    if not rows:
        return ["Nothing was measured."]
    head = ("measure", "this model", "last of the run", "best of the run", "teacher", task.baseline_title)
    return [
        f"Measured on the validation data, or {VALIDATION_LIMIT:,} examples of it where there are more; the step in "
        "brackets.",
        _table(head, rows),
        "Agreement: how alike the two models' maps of a text are, by gradient × input at what the teacher answers "
        "(cosine, spearman: unsigned; signed_cosine: signed), and how often they answer alike (label_loyalty), as a "
        f"mean over at most {PROBE_EXAMPLES} validation sentences; 1 where they are the same.".replace("_", r"\_"),
    ]


def _result(series: Series, name: str, step: int) -> tuple[str, ...]:
    points, metric = series[name], name.removeprefix(VALIDATION)
    at_step = [point for point in points if point[0] <= step][-1:]
    defined = [point for point in points if point[1] == point[1]]
    trained = [point for point in defined if point[0] > 0] or defined
    best = [max(trained, key=lambda point: point[1])] if trained else []
    known = [series.get(prefix + metric, ())[-1:] for prefix in (TEACHER, CONSTANT)]
    cells = [_cell(cell, True) for cell in (at_step, points[-1:], best)]
    return (markdown_text(metric), *cells, *(_cell(cell, False) for cell in known))


def _cell(points: Sequence[tuple[int, float]], with_step: bool) -> str:
    if not points:
        return "–"
    ((step, value),) = points
    number = f"{value:.4f}" if value == value else "not defined"
    return f"{number} ({step:,})" if with_step else number


def _versions(record: Mapping[str, Any]) -> str:
    stored = record.get("versions", {})
    if not isinstance(stored, dict):
        raise ModelError(
            f"The student's record is damaged (versions is {stored!r:.40}; wanted names with versions). Train the "
            "run again."
        )
    prints = record.get("fingerprints")
    teacher = prints.get("teacher") if isinstance(prints, dict) else None
    weights = (
        f" The teacher's fingerprint (SHA-256 of its files): {markdown_text(teacher)}."
        if isinstance(teacher, str)
        else ""
    )
    return f"Made with {markdown_text(format_versions(stored))}.{weights}"


def _limits(config: RunConfig) -> str:
    return "\n".join(
        [
            "- A small model: it knows less than its teacher and repeats its teacher's errors.",
            f"- One run with one seed ({config.seed}): another seed gives other numbers, and the spread is not "
            "measured here.",
            f"- Agreement with the teacher is measured on {PROBE_EXAMPLES} sentences at most, by one method: it says "
            "little about other texts, and nothing about whether the reasons are right.",
            f"- Texts were truncated to {config.max_length} tokens, or to the teacher's limit.",
            "- No licence is stated: it depends on those of the teacher and of the data.",
        ]
    )


def _snippet(config: RunConfig, task: Task) -> str:
    texts = ", ".join(f'"{title}."' for title in task.text_titles)
    if task.span:
        shown = "print(float(logits))"
    else:
        shown = "print(model.config.id2label[int(logits.argmax())], logits.softmax(-1).tolist())"
    return f"""\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
longest = min(tokenizer.model_max_length, {config.max_length})
inputs = tokenizer({texts}, truncation=True, max_length=longest, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
{shown}"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(record: Mapping[str, Any], name: str) -> int:
    """Return a whole number of the record, 0 if it is missing; ModelError if it is not a whole number."""
    value = record.get(name, 0)
    if type(value) is not int or value < 0:
        raise ModelError(
            f"The student's record is damaged ({name} is {value!r:.40}; wanted a whole number). Train the run again."
        )
    return value
