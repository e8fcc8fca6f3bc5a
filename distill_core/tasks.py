"""The tasks: columns, class names in label order, and metric; data only, never a branch in the mathematics."""

from collections.abc import Sequence
from dataclasses import dataclass

from distill_core.errors import ConfigError


@dataclass(frozen=True)
class Task:
    """One GLUE task as `nyu-mll/glue` on the Hugging Face hub has it (columns, label order)."""

    name: str
    title: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def chance(self) -> float:
        """Accuracy of guessing among equally likely classes."""
        return 1.0 / self.classes

    def label_index(self, label: str) -> int:
        """Return the index of a class by name; ConfigError naming the valid ones."""
        if label not in self.labels:
            raise ConfigError(f"Unknown class {label!r} for task {self.name}; choose one of: {', '.join(self.labels)}.")
        return self.labels.index(label)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (Task("sst2", "Film-review sentiment (SST-2)", ("sentence",), ("negative", "positive"), "accuracy"),)
}


def get_task(name: str) -> Task:
    """Return the task of this name; ConfigError naming the valid ones."""
    if name not in TASKS:
        raise ConfigError(f"Unknown task {name!r}; choose one of: {', '.join(TASKS)}.")
    return TASKS[name]


def task_metrics(task: Task, predictions: Sequence[int], labels: Sequence[int]) -> dict[str, float]:
    """Return the task's metric, by its GLUE name, of predicted against gold class indices."""
    if task.metric == "accuracy":
        from sklearn.metrics import accuracy_score  # here: reading task names must stay fast

        return {"accuracy": float(accuracy_score(labels, predictions))}
    raise ConfigError(f"Task {task.name} names an unknown metric {task.metric!r}.")
