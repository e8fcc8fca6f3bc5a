"""How well a classifier does on a data set: batched predictions and the task's metric."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.data.datasets import Dataset
from distill_core.data.tasks import Answer, get_task
from distill_core.errors import DataError, ModelError
from distill_core.metrics.task_metrics import task_metrics
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.micro_batches import map_in_parts
from distill_core.models.tokenization import Encoded, collate, encode_all


@torch.no_grad()
def predict_logits(
    network: PreTrainedModel,
    rows: Sequence[Encoded],
    pad_id: int,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "example class"]:
    """Return the logits of all rows in their order, on the CPU, computed in batches of similar length.

    Of fewer at once than `batch_size` where memory runs out.

    Dropout is off while it runs; the network's mode is put back. `progress(done, total)` is called
    after each batch.
    """
    was_training = network.training
    network.eval()
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
    parts: list[Tensor] = []

    def predict(chosen: Sequence[int]) -> Tensor:
        return logits(network, collate([rows[row] for row in chosen], pad_id).to(network.device)).float().cpu()

    done = 0
    try:
        for chosen, found in map_in_parts(order, batch_size, predict, network.device):
            parts.append(found)
            done += len(chosen)
            if progress is not None:
                progress(done, len(order))
    finally:
        network.train(was_training)
    if not parts:
        raise DataError("There are no examples to predict.")
    stacked = torch.cat(parts)
    if not torch.isfinite(stacked).all():
        raise ModelError("The model's logits are not finite: its weights hold nan or infinity, or its input overflows.")
    result = torch.empty_like(stacked)
    result[torch.tensor(order)] = stacked
    return result


def evaluate(
    model: LoadedModel,
    data: Dataset,
    *,
    max_length: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Return the task's GLUE metric of a model on a labelled data set."""
    task = get_task(data.task)
    rows = encode_all(model.tokenizer, data.examples, min(max_length, model.max_length))
    found = predict_logits(model.network, rows, model.pad_id, progress=progress)
    return task_metrics(task, predicted_answers(found), gold_labels(data))


def predicted_answers(logits: Float[Tensor, "example class"]) -> list[Answer]:
    """Return each row's predicted class, or its score where there is one logit, a regression's."""
    found: list[Answer] = (logits[:, 0] if logits.shape[1] == 1 else logits.argmax(dim=1)).tolist()
    return found


def gold_labels(data: Dataset) -> list[Answer]:
    """Return the class indices or scores of a labelled data set; DataError where one is missing."""
    labels = [example.label for example in data.examples if example.label is not None]
    if len(labels) != len(data.examples):
        raise DataError(f"{data.source}: some examples of {data.task} {data.split} have no label.")
    return labels
