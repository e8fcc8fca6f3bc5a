"""Whether a model's outputs stand for the task's classes in the task's order, judged by what it answers.

A config often names its classes LABEL_0, LABEL_1: then only answers tell. They are counted on the bundled examples;
a doubt is raised where chance would give such a count less than once in a thousand models (RARE), so that a weak
model, which a small sample cannot tell from guessing, is called weak and not refused.
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
SLOPE = 2.5  # between scores on one scale at most
LIKELY = 0.05  # above it, an accuracy or correlation may well be chance


@dataclass(frozen=True)
class AnswerAssessment:
    """How a model does on the bundled examples. `words`: its accuracy or correlation, in words.

    `weak`: no better than chance. `doubt`: why its outputs seem to be in another order, None where they do not.
    `order`: the class each output seems to be, where that is doubtful and there are classes. `scale`: why its scores
    seem to be on another scale than the task's, None where they do not.
    """

    words: str
    weak: bool
    doubt: str | None
    order: tuple[int, ...] | None = None
    scale: str | None = None


def label_order_warning(model: LoadedModel, task: str) -> str | None:
    """Return why a model's outputs seem not to be in the order of the task's classes, None where they seem right.

    72 examples or more are run through it. ModelError where it has another number of outputs than the task.
    """
    check_labels(model.id, model.labels, task)
    return assess_answers(model, task).doubt


def assess_answers(model: LoadedModel, task: str) -> AnswerAssessment:
    """Run a model over the task's bundled examples and judge its answers."""
    data = load_split(task, "validation", "bundled")
    rows = encode_all(model.tokenizer, data.examples, min(128, model.max_length))
    found = predicted_answers(predict_logits(model.network, rows, model.pad_id))
    gold = gold_labels(data)
    if get_task(task).span:
        return _judge_scores(model.id, task, gold, found)
    return _judge_classes(model.id, task, [int(label) for label in gold], [int(answer) for answer in found])


def _judge_classes(model_id: str, task: str, gold: Sequence[int], found: Sequence[int]) -> AnswerAssessment:
    labels, count = get_task(task).labels, len(gold)
    right = {order: _right(gold, found, order) for order in permutations(range(len(labels)))}
    chance = {order: _chance(gold, found, order) for order in right}
    given = tuple(range(len(labels)))
    best = max(right, key=lambda order: (len(right[order]), order == given))
    hits = len(right[given])
    words = f"{hits} of {count} bundled examples right ({hits / count:.0%}; guessing: {chance[given]:.0%})"
    weak = bool(binomtest(hits, count, chance[given], alternative="greater").pvalue > LIKELY)
    lost, won = len(right[given] - right[best]), len(right[best] - right[given])
    below = binomtest(hits, count, chance[given], alternative="less").pvalue < RARE
    better = lost + won > 0 and binomtest(won, lost + won, alternative="greater").pvalue < RARE / len(right)
    best_is_real = binomtest(len(right[best]), count, chance[best], alternative="greater").pvalue < RARE
    doubt = None
    if best != given and (below or (better and best_is_real)):
        fitting, wanted = ", ".join(labels[index] for index in best), ", ".join(labels)
        doubt = (
            f"Model {model_id}: its labels seem to be in another order. It has {words}; were its outputs {fitting}, it "
            f"would have {len(right[best])} ({len(right[best]) / count:.0%}). Add it with its classes reordered as "
            f"task {task} has them, {wanted}, or choose another model."
        )
    return AnswerAssessment(words, weak, doubt, best if doubt else None)


def reorder(folder: Path, task: str, order: Sequence[int]) -> None:
    """Put the outputs of the model in a folder in the order of the task's classes; `order[i]`: the class output i is.

    The last layer's rows change places in the weights, and the config names the classes; nothing else changes.
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


def _right(gold: Sequence[int], found: Sequence[int], order: tuple[int, ...]) -> set[int]:
    """Return which examples are right when output i stands for class order[i]."""
    return {index for index, (label, answer) in enumerate(zip(gold, found, strict=True)) if order[answer] == label}


def _chance(gold: Sequence[int], found: Sequence[int], order: tuple[int, ...]) -> float:
    """Return the accuracy of the same answers dealt out blindly: a model that says one thing always has just this."""
    said = [order[answer] for answer in found]
    return sum(gold.count(label) * said.count(label) for label in order) / len(gold) ** 2


def _judge_scores(model_id: str, task: str, gold: Sequence[Answer], found: Sequence[Answer]) -> AnswerAssessment:
    extent = f"its scores go from {min(found):.2f} to {max(found):.2f}"
    if len(set(found)) == 1:
        return AnswerAssessment(f"the same score for all {len(gold)} bundled examples", True, None)
    together = pearsonr(gold, found, alternative="greater")
    words = f"correlation with the {len(gold)} bundled examples' scores {together.statistic:.2f}; {extent}"
    doubt = None
    if pearsonr(gold, found, alternative="less").pvalue < RARE:
        doubt = (
            f"Model {model_id}: its score seems to run the other way: {words}. Task {task} wants the higher score for "
            "the more alike; turn the sign of its classifier, or choose another model."
        )
    weak = bool(together.pvalue > LIKELY)
    return AnswerAssessment(words, weak, doubt, scale=None if weak or doubt else _other_scale(task, gold, found))


def _other_scale(task: str, gold: Sequence[Answer], found: Sequence[Answer]) -> str | None:
    """Return why scores that go with the examples' seem to be on another scale, None where they seem right.

    A score of the task's scale, however uncertain, is on average what it says: the slope of the examples' scores over
    it is about 1, and their means are about the same. Our bounds: a factor of SLOPE, a fifth of the task's scale.
    """
    low, high = get_task(task).span or (0.0, 0.0)
    slope, off = linregress(found, gold).slope, abs(sum(found) - sum(gold)) / len(gold)
    if 1 / SLOPE < slope < SLOPE and off < (high - low) / 5:
        return None
    return (
        f"Its scores go from {min(found):.2f} to {max(found):.2f} on the bundled examples, the examples' own from "
        f"{min(gold):.2f} to {max(gold):.2f}: they seem to be on another scale than task {task}'s, {low:g} to "
        f"{high:g}. In distillation its scores would contradict the examples': let the labels count nothing (alpha 1), "
        "or scale its classifier's weight and bias."
    )
