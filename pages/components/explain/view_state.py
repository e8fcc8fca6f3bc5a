"""What the explain page is looking at, as a value and as the page's address; no widgets here.

Everything that identifies a view is in its address, the text itself included: a link opens the same view
on another machine, whatever source its examples come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from distill_core.attribution import ATTRIBUTION_METHODS, BASELINES, OUTPUTS
from distill_core.catalog.catalog import ModelInfo, find_model
from distill_core.data.datasets import Dataset
from distill_core.data.tasks import get_task
from distill_core.errors import ConfigError, DistillError, ModelError
from distill_core.explanation.result import UNITS

DEFAULT = "default"  # the baseline that is the method's own
MOST_STUDENTS = 3
FIRST_TASK = "sst2"
FIRST_SPLIT = "validation"  # where a task has several to evaluate on, the first of them
FIRST_TEXTS = {"sst2": "For all its beautiful landscapes and fine intentions, the film is a crashing bore."}


@dataclass(frozen=True)
class View:
    """One explanation to look at. `example`: number of the sentence of `source` it was picked as, None if typed."""

    task: str
    text: str
    text_pair: str | None
    example: int | None
    teacher: str
    students: tuple[str, ...]
    method: str = "integrated_gradients"
    target: str = "pred"
    baseline: str = DEFAULT
    output: str = "logit"
    units: str = "pieces"
    source: str = "auto"
    split: str = FIRST_SPLIT

    def picked(self, dataset: Dataset) -> bool:
        """Tell whether the text is, still, the example it was picked as."""
        known = self.example is not None and 0 <= self.example < len(dataset.examples)
        if not known:
            return False
        example = dataset.examples[self.example or 0]
        return (example.text, example.text_pair) == (self.text, self.text_pair)

    def gold(self, dataset: Dataset) -> str | None:
        """Return the gold label's name, None for a text of one's own or an example without label."""
        label = dataset.examples[self.example or 0].label if self.picked(dataset) else None
        return None if label is None else get_task(self.task).label_name(label)


def first_view(
    dataset: Dataset, models: Mapping[str, ModelInfo], source: str = "auto", split: str = FIRST_SPLIT
) -> View:
    """Return what a newcomer sees: the task's first model as teacher, the next two, bundled ones first, as students.

    `source`, `split`: of the data set; where they were chosen, its first sentence is shown.
    """
    if not models:
        raise ModelError(f"There is no model for task {dataset.task}; reinstall the app, or finish a run.")
    teacher, *others = models
    bundled = [model for model in others if models[model].kind == "bundled"]
    students = tuple(bundled or others)[:2] or (teacher,)
    first = dataset.examples[0]
    chosen = (source, split) != ("auto", FIRST_SPLIT)
    text = first.text if chosen else FIRST_TEXTS.get(dataset.task, first.text)
    number = next((example.index for example in dataset.examples if example.text == text), None)
    return View(dataset.task, text, first.text_pair, number, teacher, students, source=source, split=split)


def to_address(view: View) -> dict[str, str | list[str]]:
    """Return a view's query parameters, so that a link opens the same view whatever the defaults become."""
    address: dict[str, str | list[str]] = {"task": view.task, "text": view.text, "teacher": view.teacher}
    if view.text_pair is not None:
        address["text_pair"] = view.text_pair
    if view.example is not None:
        address["example"] = str(view.example + 1)
    address["student"] = list(view.students)
    return address | {
        name: getattr(view, name) for name in ("method", "target", "baseline", "output", "units", "source", "split")
    }


def from_address(address: Mapping[str, Sequence[str]], first: View, dataset: Dataset) -> View:
    """Return the view of query parameters, `first` filling in what they leave out.

    Raises ConfigError or ModelError naming the parameter and its valid values.
    """
    given = {name: values[-1] for name, values in address.items() if values}
    view = replace(
        first,
        teacher=given.get("teacher", first.teacher),
        students=tuple(dict.fromkeys(address.get("student", ()))) or first.students,
        method=_one_of("method", given.get("method", first.method), ATTRIBUTION_METHODS),
        target=_one_of("target", given.get("target", first.target), ("pred", "all", *get_task(first.task).labels)),
        baseline=_one_of("baseline", given.get("baseline", first.baseline), (DEFAULT, *BASELINES)),
        output=_one_of("output", given.get("output", first.output), OUTPUTS),
        units=_one_of("units", given.get("units", first.units), UNITS),
    )
    if len(view.students) > MOST_STUDENTS:
        raise ConfigError(f"The address names {len(view.students)} students; name one to {MOST_STUDENTS}.")
    for name, models in (("teacher", (view.teacher,)), ("student", view.students)):
        for model in models:
            _check_model(name, model)
    return _with_sentence(view, given, dataset)


def task_in(address: Mapping[str, Sequence[str]]) -> str:
    """Return the task an address names, the first task if none; ConfigError naming the valid ones."""
    return get_task((address.get("task") or (FIRST_TASK,))[-1]).name


def source_in(address: Mapping[str, Sequence[str]]) -> str:
    """Return the source an address names, `auto` if none; whether it is there shows when it is read."""
    return (address.get("source") or ("auto",))[-1]


def split_in(address: Mapping[str, Sequence[str]]) -> str:
    """Return the split an address names, the one to evaluate on if none."""
    return (address.get("split") or (FIRST_SPLIT,))[-1]


def _with_sentence(view: View, given: Mapping[str, str], dataset: Dataset) -> View:
    known = len(dataset.examples)
    if "text" not in given:
        return with_example(view, dataset, _example_number(given["example"], known)) if "example" in given else view
    example = _number(given.get("example", ""), known)
    pair = given.get("text_pair", "") if get_task(view.task).pair else None
    typed = replace(view, text=given["text"], text_pair=pair, example=example)
    return typed if typed.picked(dataset) else replace(typed, example=None)  # else from a machine with other examples


def with_example(view: View, dataset: Dataset, at: int) -> View:
    """Return the view of another example."""
    chosen = dataset.examples[at]
    return replace(view, text=chosen.text, text_pair=chosen.text_pair, example=at)


def _number(value: str, count: int) -> int | None:
    """Return an example's index from its number, None where there is no such example."""
    plain = value.isascii() and value.isdecimal() and len(value) < 10  # int() refuses thousands of digits
    return int(value) - 1 if plain and 1 <= int(value) <= count else None


def _example_number(value: str, count: int) -> int:
    found = _number(value, count)
    if found is None:
        raise ConfigError(f"The address has example={value[:40]!r}; there are examples 1 to {count}.")
    return found


def _check_model(name: str, model_id: str) -> None:
    try:
        find_model(model_id)
    except DistillError as error:
        raise ModelError(f"The address has {name}={model_id[:80]!r}. {error}") from error


def _one_of(name: str, value: str, valid: Sequence[str] | Mapping[str, object]) -> str:
    if value not in valid:
        raise ConfigError(f"The address has {name}={value[:80]!r}; choose one of: {', '.join(valid)}.")
    return value
