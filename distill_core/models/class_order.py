"""The order of a model's classes by their names, compared with the order of the task's classes."""

from collections.abc import Sequence

from distill_core.data.tasks import get_task
from distill_core.errors import ModelError, NeedsReordering


def check_labels(model_id: str, labels: Sequence[str], task: str) -> None:
    """Raise ModelError for another number of classes than the task's, NeedsReordering for another order."""
    wanted = get_task(task).labels
    if len(labels) != len(wanted):
        raise ModelError(
            f"Model {model_id} has {len(labels)} classes; task {task} has {len(wanted)}: choose a model for it."
        )
    order = named_order(labels, task)
    if order is not None and order != tuple(range(len(order))):
        raise NeedsReordering(
            f"Model {model_id} orders its classes {', '.join(labels)}; task {task} orders them "
            f"{', '.join(wanted)}. Correct id2label in its config.json if only the names are wrong, else add the model "
            "with its classes reordered."
        )


def named_order(labels: Sequence[str], task: str) -> tuple[int, ...] | None:
    """Return the index of the task's class that each output is named after, None if the names are not the task's."""
    wanted, named = get_task(task).labels, [label.lower() for label in labels]
    return tuple(map(wanted.index, named)) if sorted(named) == sorted(wanted) else None
