"""The order of a model's outputs, compared with the task's classes by its predictions on the bundled examples.

A config often names its classes LABEL_0, LABEL_1: then only predictions show their order. It is doubted if chance would
give such predictions less than once in a thousand models (RARE), so that a weak model, which a small sample cannot
distinguish from guessing, is reported as weak and not refused.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from safetensors.torch import load_file, save_file
from scipy.stats import binomtest, linregress, pearsonr

from distill_core.data.datasets import load_split
from distill_core.data.tasks import Answer, get_task
from distill_core.models.class_order import check_labels
from distill_core.models.encoder import LoadedModel
from distill_core.models.evaluation import gold_labels, predict_logits, predicted_answers
from distill_core.models.tokenization import encode_all
from distill_core.storage.encoder_families import family_settings
from distill_core.storage.model_folder import CONFIG, WEIGHTS, read_json

RARE = 0.001
MAX_SLOPE = 2.5  # of gold scores over a model's scores, if both are on the same scale
LIKELY = 0.05  # above this p-value an accuracy or correlation may be chance


@dataclass(frozen=True)
class AnswerAssessment:
    """A model's performance on the bundled examples. `words`: its accuracy or correlation as a phrase.

    `weak`: no better than chance. `doubt`: why its outputs seem to be in another order, else None. `order`: the class
    that each output seems to be, if the order is doubted and there are classes. `scale`: why its scores seem to be on
    another scale than the task's, else None.
    """

    words: str
    weak: bool
    doubt: str | None
    order: tuple[int, ...] | None = None
    scale: str | None = None


def label_order_warning(model: LoadedModel, task: str) -> str | None:
    """Return why a model's outputs seem to be in another order than the task's classes, None if they seem right.

    Runs the model on at least 72 examples. ModelError if it has another number of outputs than the task.
    """
    check_labels(model.id, model.labels, task)
    return assess_answers(model, task).doubt


def assess_answers(model: LoadedModel, task: str) -> AnswerAssessment:
    """Run a model on the task's bundled examples and assess its predictions."""
    data = load_split(task, "validation", "bundled")
    rows = encode_all(model.tokenizer, data.examples, min(128, model.max_length))
    predictions = predicted_answers(predict_logits(model.network, rows, model.pad_id))
    gold = gold_labels(data)
    if get_task(task).span:
        return _judge_scores(model.id, task, gold, predictions)
    return _judge_classes(model.id, task, [int(label) for label in gold], [int(answer) for answer in predictions])


def _judge_classes(model_id: str, task: str, gold: Sequence[int], predictions: Sequence[int]) -> AnswerAssessment:
    labels, count = get_task(task).labels, len(gold)
    right = {order: _right(gold, predictions, order) for order in permutations(range(len(labels)))}
    chance = {order: _chance(gold, predictions, order) for order in right}
    task_order = tuple(range(len(labels)))
    best = max(right, key=lambda order: (len(right[order]), order == task_order))
    hits = len(right[task_order])
    words = f"{hits} of {count} bundled examples right ({hits / count:.0%}; guessing: {chance[task_order]:.0%})"
    weak = bool(binomtest(hits, count, chance[task_order], alternative="greater").pvalue > LIKELY)
    lost, won = len(right[task_order] - right[best]), len(right[best] - right[task_order])
    below = binomtest(hits, count, chance[task_order], alternative="less").pvalue < RARE
    better = lost + won > 0 and binomtest(won, lost + won, alternative="greater").pvalue < RARE / len(right)
    best_is_real = binomtest(len(right[best]), count, chance[best], alternative="greater").pvalue < RARE
    doubt = None
    if best != task_order and (below or (better and best_is_real)):
        fitting, wanted = ", ".join(labels[index] for index in best), ", ".join(labels)
        doubt = (
            f"Model {model_id}: its labels seem to be in another order. It has {words}; if its outputs were {fitting}, "
            f"it would have {len(right[best])} ({len(right[best]) / count:.0%}). Add it with its classes reordered as "
            f"task {task} has them, {wanted}, or choose another model."
        )
    return AnswerAssessment(words, weak, doubt, best if doubt else None)


def reorder(folder: Path, task: str, order: Sequence[int]) -> None:
    """Reorder the outputs of the model in a folder as the task's classes; `order[i]`: the class of output i.

    The rows of the last layer are permuted in the weights, and the config names the classes; nothing else changes.
    """
    rows = [order.index(label) for label in range(len(order))]
    tensors = load_file(folder / WEIGHTS)
    config = read_json(folder / CONFIG)
    output_layer = family_settings(config).output_layer
    for name in (f"{output_layer}.weight", f"{output_layer}.bias"):
        tensors[name] = tensors[name][rows].contiguous()
    part = folder / f"{WEIGHTS}.part"
    save_file(tensors, part, metadata={"format": "pt"})
    part.replace(folder / WEIGHTS)
    labels = get_task(task).labels
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _right(gold: Sequence[int], predictions: Sequence[int], order: tuple[int, ...]) -> set[int]:
    """Return the indices of the examples that are right if output i is class order[i]."""
    return {
        index for index, (label, answer) in enumerate(zip(gold, predictions, strict=True)) if order[answer] == label
    }


def _chance(gold: Sequence[int], predictions: Sequence[int], order: tuple[int, ...]) -> float:
    """Return the expected accuracy of the same predictions in random order, which a constant model has exactly."""
    predicted = [order[answer] for answer in predictions]
    return sum(gold.count(label) * predicted.count(label) for label in order) / len(gold) ** 2


def _judge_scores(model_id: str, task: str, gold: Sequence[Answer], predictions: Sequence[Answer]) -> AnswerAssessment:
    extent = f"its scores range from {min(predictions):.2f} to {max(predictions):.2f}"
    if len(set(predictions)) == 1:
        return AnswerAssessment(f"the same score for all {len(gold)} bundled examples", True, None)
    together = pearsonr(gold, predictions, alternative="greater")
    words = f"correlation with the {len(gold)} bundled examples' scores {together.statistic:.2f}; {extent}"
    doubt = None
    if pearsonr(gold, predictions, alternative="less").pvalue < RARE:
        doubt = (
            f"Model {model_id}: its score seems to be inverted: {words}. Task {task} wants a higher score for "
            "more similar texts; invert the sign of its classifier, or choose another model."
        )
    weak = bool(together.pvalue > LIKELY)
    return AnswerAssessment(words, weak, doubt, scale=None if weak or doubt else _other_scale(task, gold, predictions))


def _other_scale(task: str, gold: Sequence[Answer], predictions: Sequence[Answer]) -> str | None:
    """Return why scores that correlate with the examples' seem to be on another scale, None if they seem right.

    Scores on the task's scale, however uncertain, are right on average: the slope of the examples' scores over them is
    about 1, and the means are about equal. Our bounds: a factor of MAX_SLOPE, a fifth of the task's scale.
    """
    low, high = get_task(task).span or (0.0, 0.0)
    slope, off = linregress(predictions, gold).slope, abs(sum(predictions) - sum(gold)) / len(gold)
    if 1 / MAX_SLOPE < slope < MAX_SLOPE and off < (high - low) / 5:
        return None
    return (
        f"Its scores range from {min(predictions):.2f} to {max(predictions):.2f} on the bundled examples, those of the "
        f"examples from {min(gold):.2f} to {max(gold):.2f}: they seem to be on another scale than task {task}'s, "
        f"{low:g} to {high:g}. In distillation its scores would contradict the examples': ignore the labels (alpha 1), "
        "or rescale its classifier's weight and bias."
    )
