"""The tasks: columns, class names in label order and metrics; data only, no task-specific computation."""

import re
from dataclasses import dataclass

from distill_core.errors import ConfigError

Answer = int | float  # a class index, or a regression's score


@dataclass(frozen=True)
class Task:
    """One GLUE task as `nyu-mll/glue` on the Hugging Face hub has it (columns, label order, splits).

    `labels`: the classes in label order; a regression has one, the name of its score. `metrics`: as GLUE names
    them, the main one first. `span`: lowest and highest score of a regression,
    None where there are classes. `evaluations`: the splits to evaluate on. `symmetric`: the order of a pair's
    texts does not matter.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)
    span: tuple[float, float] | None = None
    evaluations: tuple[str, ...] = ("validation",)
    symmetric: bool = False

    @property
    def metric(self) -> str:
        """The main metric."""
        return self.metrics[0]

    @property
    def baseline_title(self) -> str:
        """The title of the metrics that `constant_metrics` returns; a constant score has no correlation."""
        return "no correlation" if self.span else "majority-class baseline"

    @property
    def short_title(self) -> str:
        """The name used in GLUE's papers."""
        return self.title.rsplit("(", 1)[-1].rstrip(")")

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits that can be read; `validation` stands for the first of several to evaluate on."""
        return tuple(dict.fromkeys(("train", "validation", *self.evaluations)))

    @property
    def classes(self) -> int:
        """Number of classes; 1 for a regression."""
        return len(self.labels)

    @property
    def pair(self) -> bool:
        """Whether an example is two texts."""
        return len(self.columns) > 1

    @property
    def text_titles(self) -> tuple[str, ...]:
        """Headings for its texts: Premise and Hypothesis, or First and Second sentence."""
        names = [column.rstrip("12") for column in self.columns]
        if len(set(names)) < len(names):
            return (f"First {names[0]}", f"Second {names[1]}")
        return tuple(name.capitalize() for name in names)

    def label_index(self, label: str) -> int:
        """Return the index of a class by name; ConfigError naming the valid ones."""
        if label not in self.labels:
            raise ConfigError(f"Unknown class {label!r} for task {self.name}; choose one of: {', '.join(self.labels)}.")
        return self.labels.index(label)

    def label_name(self, label: Answer) -> str:
        """Return the text for a gold label or a prediction: the name of the class, or the score with two decimals."""
        return f"{label:.2f}" if self.span else self.labels[int(label)]


_SENTENCES, _NLI = ("sentence1", "sentence2"), ("entailment", "not_entailment")
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("sst2", "Film-review sentiment (SST-2)", ("sentence",), ("negative", "positive")),
        Task(
            "cola", "Grammaticality (CoLA)", ("sentence",), ("unacceptable", "acceptable"), ("matthews_correlation",)
        ),
        Task(
            "mrpc", "Paraphrase (MRPC)", _SENTENCES, ("not_equivalent", "equivalent"), ("f1", "accuracy"),
            symmetric=True,
        ),
        Task(
            "qqp", "Duplicate questions (QQP)", ("question1", "question2"), ("not_duplicate", "duplicate"),
            ("accuracy", "f1"), symmetric=True,
        ),
        Task(
            "stsb", "Similarity score (STS-B)", _SENTENCES, ("similarity",), ("pearson", "spearmanr"), (0.0, 5.0),
            symmetric=True,
        ),
        Task(
            "mnli", "Inference, three classes (MNLI)", ("premise", "hypothesis"),
            ("entailment", "neutral", "contradiction"),
            evaluations=("validation_matched", "validation_mismatched"),
        ),
        Task("qnli", "Question and answer (QNLI)", ("question", "sentence"), _NLI),
        Task("rte", "Inference, two classes (RTE)", _SENTENCES, _NLI),
        Task("wnli", "Pronouns (WNLI)", _SENTENCES, ("not_entailment", "entailment")),
    )
}  # fmt: skip


def get_task(name: str) -> Task:
    """Return the task of this name; ConfigError naming the valid ones."""
    if name not in TASKS:
        raise ConfigError(f"Unknown task {name!r}; choose one of: {', '.join(TASKS)}.")
    return TASKS[name]


def normalise_name(name: str) -> str:
    """Return a name without case, punctuation and blanks, for comparing names of folders, columns and classes."""
    return re.sub(r"[\W_]", "", name.casefold())
