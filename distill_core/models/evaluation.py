"""Evaluation of a classifier on a dataset: batched predictions and the task's metrics."""

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

    Batches become smaller than `batch_size` if memory runs out. Dropout is off meanwhile, and the network's mode is
    restored. `progress(done, total)` is called after each batch.
    """
    was_training = network.training
    network.eval()
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
    parts: list[Tensor] = []

    def predict(chosen: Sequence[int]) -> Tensor:
        return logits(network, collate([rows[row] for row in chosen], pad_id).to(network.device)).float().cpu()

    done = 0
    try:
        for chosen, part in map_in_parts(order, batch_size, predict, network.device):
            parts.append(part)
            done += len(chosen)
            if progress is not None:
                progress(done, len(order))
    finally:
        network.train(was_training)
    if not parts:
        raise DataError("There are no examples to predict; choose a split or a file with examples.")
    stacked = torch.cat(parts)
    if not torch.isfinite(stacked).all():
        raise ModelError(
            "The model's logits are not finite: its weights have nan or infinity, or its input "
            "overflows. Choose another model."
        )
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
    """Return the task's GLUE metrics of a model on a labelled dataset."""
    task = get_task(data.task)
    rows = encode_all(model.tokenizer, data.examples, min(max_length, model.max_length))
    predictions = predict_logits(model.network, rows, model.pad_id, progress=progress)
    return task_metrics(task, predicted_answers(predictions), gold_labels(data))


def predicted_answers(logits: Float[Tensor, "example class"]) -> list[Answer]:
    """Return each row's predicted class, or its score if there is one logit, as for a regression."""
    predictions: list[Answer] = (logits[:, 0] if logits.shape[1] == 1 else logits.argmax(dim=1)).tolist()
    return predictions


def gold_labels(data: Dataset) -> list[Answer]:
    """Return the class indices or scores of a labelled dataset; DataError if one is missing."""
    labels = [example.label for example in data.examples if example.label is not None]
    if len(labels) != len(data.examples):
        raise DataError(
            f"{data.source}: some examples of {data.task} {data.split} have no label; choose labelled data."
        )
    return labels
