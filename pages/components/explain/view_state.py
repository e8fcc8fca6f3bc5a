"""The Explain page's view: a request, and the example it was picked from; as a value and as the page's address.

Everything that identifies a view is in its address, the text itself included: a link opens the same view
on another machine, whatever source its examples come from. This module draws no widgets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from distill_core.catalog.catalog import ModelInfo, find_model
from distill_core.config.attribution_methods import ATTRIBUTION_METHODS, BASELINES, OUTPUTS
from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from distill_core.errors import ConfigError, DistillError, ModelError
from distill_core.explanation.request import LARGEST_SEED, UNITS, ExplanationRequest

DEFAULT = "default"  # a request's baseline None, in the address and in the control
MOST_STUDENTS = 3
FIRST_TASK = "sst2"
FIRST_SPLIT = "validation"  # where a task has several to evaluate on, the first of them
FIRST_TEXTS = {"sst2": "For all its beautiful landscapes and fine intentions, the film is a crashing bore."}


@dataclass(frozen=True)
class View:
    """What the page shows. `example`: index of the text in `split` of `source`, None if it was typed."""

    request: ExplanationRequest
    example: int | None = None
    source: str = "auto"
    split: str = FIRST_SPLIT

    def is_example(self, dataset: Dataset) -> bool:
        """Tell whether the text is still that of the example it was picked from."""
        if self.example is None or not 0 <= self.example < len(dataset.examples):
            return False
        example = dataset.examples[self.example]
        return (example.text, example.text_pair) == (self.request.text, self.request.text_pair)

    def label(self, dataset: Dataset) -> str | None:
        """Return the name of the text's label, None for a typed text or an example without one."""
        label = dataset.examples[self.example or 0].label if self.is_example(dataset) else None
        return None if label is None else get_task(self.request.task).label_name(label)


def first_view(
    dataset: Dataset, models: Mapping[str, ModelInfo], source: str = "auto", split: str = FIRST_SPLIT
) -> View:
    """Return what a new visitor sees: the task's first model as teacher, the next two, bundled ones first, as students.

    `source`, `split`: of the data set; where they were chosen, its first text is shown. ModelError without a model.
    """
    if not models:
        raise ModelError(f"There is no model for task {dataset.task}; reinstall the app, or finish a run.")
    teacher, *others = models
    bundled = [model for model in others if models[model].kind == "bundled"]
    first = dataset.examples[0]
    chosen = (source, split) != ("auto", FIRST_SPLIT)
    text = first.text if chosen else FIRST_TEXTS.get(dataset.task, first.text)
    request = ExplanationRequest(
        task=dataset.task,
        text=text,
        text_pair=first.text_pair,
        teacher=teacher,
        students=tuple(bundled or others)[:2] or (teacher,),
    )
    example = next((example.index for example in dataset.examples if example.text == text), None)
    return View(request, example, source, split)


def to_address(view: View) -> dict[str, str | list[str]]:
    """Return a view's query parameters, so that a link opens the same view whatever the defaults become."""
    request = view.request
    address: dict[str, str | list[str]] = {"task": request.task, "text": request.text, "teacher": request.teacher}
    if request.text_pair is not None:
        address["text_pair"] = request.text_pair
    if view.example is not None:
        address["example"] = str(view.example + 1)
    address["student"] = list(request.students)
    address |= {"method": request.method, "target": request.target, "baseline": request.baseline or DEFAULT}
    if request.seed:
        address["seed"] = str(request.seed)
    return address | {"output": request.output, "units": request.units, "source": view.source, "split": view.split}


def from_address(address: Mapping[str, Sequence[str]], first: View, dataset: Dataset) -> View:
    """Return the view of query parameters, `first` filling in what they leave out.

    Raises ConfigError or ModelError naming the parameter and its valid values.
    """
    last = {name: values[-1] for name, values in address.items() if values}
    default = first.request
    targets = ("pred", "all", *get_task(default.task).labels)
    baseline = _one_of("baseline", last.get("baseline", default.baseline or DEFAULT), (DEFAULT, *BASELINES))
    request = replace(
        default,
        teacher=last.get("teacher", default.teacher),
        students=tuple(dict.fromkeys(address.get("student", ()))) or default.students,
        method=_one_of("method", last.get("method", default.method), ATTRIBUTION_METHODS),
        target=_one_of("target", last.get("target", default.target), targets),
        baseline=None if baseline == DEFAULT else baseline,
        output=_one_of("output", last.get("output", default.output), OUTPUTS),
        units=_one_of("units", last.get("units", default.units), UNITS),
        seed=_seed(last.get("seed", str(default.seed))),
    )
    if len(request.students) > MOST_STUDENTS:
        raise ConfigError(f"The address names {len(request.students)} students; name one to {MOST_STUDENTS}.")
    for name, models in (("teacher", (request.teacher,)), ("student", request.students)):
        for model in models:
            _check_model(name, model)
    return _with_text(replace(first, request=request), last, dataset)


def task_in(address: Mapping[str, Sequence[str]]) -> str:
    """Return the task an address names, the first task if none; ConfigError naming the valid ones."""
    return get_task((address.get("task") or (FIRST_TASK,))[-1]).name


def source_in(address: Mapping[str, Sequence[str]]) -> str:
    """Return the source an address names, `auto` if none; whether it is there shows when it is read."""
    return (address.get("source") or ("auto",))[-1]


def split_in(address: Mapping[str, Sequence[str]]) -> str:
    """Return the split an address names, the one to evaluate on if none."""
    return (address.get("split") or (FIRST_SPLIT,))[-1]


def with_example(view: View, dataset: Dataset, index: int) -> View:
    """Return the view of another example."""
    chosen = dataset.examples[index]
    return replace(view, request=replace(view.request, text=chosen.text, text_pair=chosen.text_pair), example=index)


def _with_text(view: View, address: Mapping[str, str], dataset: Dataset) -> View:
    """Return the view of the text or the example an address names."""
    count = len(dataset.examples)
    if "text" not in address:
        if "example" not in address:
            return view
        return with_example(view, dataset, _checked_example(address["example"], count))
    text_pair = address.get("text_pair", "") if get_task(view.request.task).pair else None
    request = replace(view.request, text=address["text"], text_pair=text_pair)
    typed = replace(view, request=request, example=_example_index(address.get("example", ""), count))
    # The address may come from a machine with other examples: then the text counts, as a typed one.
    return typed if typed.is_example(dataset) else replace(typed, example=None)


def _decimal(value: str) -> int | None:
    """Return a whole number of at most ten digits; int() alone accepts signs, spaces and other scripts' digits."""
    return int(value) if value.isascii() and value.isdecimal() and len(value) <= 10 else None


def _example_index(value: str, count: int) -> int | None:
    """Return an example's index from its number, None where there is no such example."""
    number = _decimal(value) if len(value) < 10 else None
    return number - 1 if number is not None and 1 <= number <= count else None


def _checked_example(value: str, count: int) -> int:
    index = _example_index(value, count)
    if index is None:
        raise ConfigError(f"The address has example={value[:40]!r}; there are examples 1 to {count}.")
    return index


def _seed(value: str) -> int:
    seed = _decimal(value)
    if seed is None or seed > LARGEST_SEED:
        raise ConfigError(f"The address has seed={value[:40]!r}; use a whole number from 0 to {LARGEST_SEED}.")
    return seed


def _check_model(name: str, model_id: str) -> None:
    try:
        find_model(model_id)
    except DistillError as error:
        raise ModelError(f"The address has {name}={model_id[:80]!r}. {error}") from error


def _one_of(name: str, value: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    if value not in valid:
        raise ConfigError(f"The address has {name}={value[:80]!r}; choose one of: {', '.join(valid)}.")
    return value
