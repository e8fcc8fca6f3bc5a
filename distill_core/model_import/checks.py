"""What a model is checked for before it is used: one finding a check, in words, the first failed one is the last.

In the order in which they can be told: by the names of its files, by its config, by its weights' header, by loading
it, by what it answers.
"""

from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path
from typing import TypeVar

from distill_core.data.tasks import get_task
from distill_core.errors import DistillError, ModelError, NeedsConversion, NeedsReordering
from distill_core.model_import.label_order import assess_answers, reorder
from distill_core.model_import.progress import Finding, ImportStep
from distill_core.models.class_order import check_labels, named_order
from distill_core.models.encoder import load_model
from distill_core.models.tokenizer_digest import loses_capitals, same_as_bundled
from distill_core.storage.encoder_families import FAMILIES, family_settings
from distill_core.storage.model_folder import (
    CONFIG,
    WEIGHTS,
    check_no_adapter,
    check_settings,
    check_tokenizer_files,
    class_names,
    read_json,
    weight_shapes,
)

Looked = TypeVar("Looked")
PICKLE = "pytorch_model.bin"
SAME_TOKENS = "It cuts text into the same tokens as the bundled models."
OTHER_TOKENS = (
    "It cuts text into other tokens than the bundled models: beside them it is explained by words, and neither can be "
    "distilled from the other."
)
_FOREIGN = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "model.ckpt.index": "TensorFlow"}


def check_folder(folder: Path, task: str, model_id: str) -> Generator[ImportStep | Finding, None, None]:
    """Check the model in a folder for a task; after a failed one an error, mostly ModelError, of its words."""
    yield from check_names(file_names(folder, model_id), model_id)
    yield from check_config(folder, task, model_id)
    yield from check_weights(folder, task, model_id)


def file_names(folder: Path, model_id: str) -> set[str]:
    """Return the names of the files in a folder; ModelError where it cannot be read."""
    try:
        return {file.name for file in folder.iterdir() if file.is_file()}
    except OSError as error:
        raise ModelError(f"Model {model_id}: {folder} cannot be read ({error}).") from error


def check_names(names: Collection[str], model_id: str, convert: bool = False) -> Iterator[Finding]:
    """Check by the names of its files: there are a config, weights that can be read, a tokenizer.

    NeedsConversion where its weights are a pickle, unless `convert`.
    """
    yield from _find("files", lambda: _config_words(names, model_id))
    yield from _find("weights", lambda: _weights_words(names, model_id, convert))
    yield from _find("tokenizer", lambda: _tokenizer_words(names, model_id))
    yield from _refuse("adapter", lambda: check_no_adapter(names, f"Model {model_id}"))


def check_config(folder: Path, task: str, model_id: str, reordered: bool = False) -> Iterator[Finding]:
    """Check by its config: a known architecture, no code of its own that would be needed, a head for this task.

    NeedsReordering where it names the task's classes in another order, unless they are to be `reordered`.
    """
    yield from _find("architecture", lambda: _family_words(folder, model_id))
    yield from _refuse("settings", lambda: check_settings(folder, f"Model {model_id}"))
    if read_json(folder / CONFIG).get("auto_map"):
        yield Finding(
            "own code",
            True,
            "It brings code of its own, which is not run: transformers' own code is used.",
            warning=True,
        )
    yield from _find("head", lambda: _head_words(folder, model_id))
    yield from _find("labels", lambda: _label_words(folder, task, model_id, reordered))
    labels = _labels(folder)
    if not _unnamed(labels) and named_order(labels, task) is None:
        words = f"Its classes are named {', '.join(labels)}, taken to be {', '.join(get_task(task).labels)}."
        yield Finding("label names", True, words, warning=True)


def check_weights(folder: Path, task: str, model_id: str, reordered: bool = False) -> Iterator[ImportStep | Finding]:
    """Check by its weights: a classifier is among them, all of them load, and its answers are in the task's order.

    NeedsReordering where its answers are in another order, unless it was `reordered` already.
    """
    yield from _find("classifier", lambda: _classifier_words(folder, model_id))
    yield ImportStep("Loading the model", 0, 0)
    model = yield from _refuse("loads", lambda: load_model(folder, model_id))
    yield Finding("loads", True, f"All its weights and its tokenizer ({len(model.tokenizer)} tokens) are loaded.")
    same = yield from _refuse("tokens", lambda: same_as_bundled(model.tokenizer))
    yield Finding("tokens", True, SAME_TOKENS if same else OTHER_TOKENS, warning=not same)
    if loses_capitals(model.tokenizer):
        words = 'Its tokenizer lowers capitals, which its vocabulary has: put "do_lower_case": false into its '
        yield Finding("casing", True, f"{words}tokenizer_config.json if the model is a cased one.", warning=True)
    yield ImportStep("Asking it the bundled examples", 0, 0)
    found = yield from _refuse("answers", lambda: assess_answers(model, task))  # its logits may not be finite
    if found.doubt is not None:
        doubt = found.doubt
        if reordered:
            doubt = (
                f"Model {model_id}: the names of its classes and its answers contradict each other. In the order of "
                f"its names it has {found.words}. If the names are wrong, correct id2label in its config.json."
            )
        yield Finding("answers", False, doubt)
        raise NeedsReordering(doubt) if found.order and not reordered else ModelError(doubt)
    if found.scale is not None:
        yield Finding("scale", True, found.scale, warning=True)
    weak = "; it may know little of this task, or another one" if found.weak else ""
    yield Finding("answers", True, f"{found.words[:1].upper()}{found.words[1:]}{weak}.", warning=found.weak)


def reorder_classes(folder: Path, task: str, model_id: str) -> Iterator[Finding]:
    """Put the classes of the copy in a folder in the task's order: as they are named, else as its answers tell."""
    labels, wanted = _labels(folder), get_task(task).labels
    order = named_order(labels, task) or assess_answers(load_model(folder, model_id), task).order
    if order is not None and order != tuple(range(len(order))):
        reorder(folder, task, order)
        words = f"Its outputs were {', '.join(wanted[label] for label in order)}; in the copy: {', '.join(wanted)}."
        yield Finding("order", True, words, warning=True)


def _find(check: str, look: Callable[[], str]) -> Iterator[Finding]:
    """Yield what a check found; a failed one raises its error after."""
    words = yield from _refuse(check, look)
    yield Finding(check, True, words)


def _refuse(check: str, look: Callable[[], Looked]) -> Generator[Finding, None, Looked]:
    """Return what a check makes; yield a finding only where it fails, its error after."""
    try:
        return look()
    except DistillError as error:
        yield Finding(check, False, str(error))
        raise


def _config_words(names: Collection[str], model_id: str) -> str:
    if "config.json" not in names:
        raise ModelError(f"Model {model_id}: config.json is missing; a plain Hugging Face model is wanted.")
    return "It has a config.json."


def _weights_words(names: Collection[str], model_id: str, convert: bool) -> str:
    if WEIGHTS in names:
        return f"Its weights are in {WEIGHTS}, which cannot run code."
    if PICKLE in names:
        if convert:
            return f"Its weights are in {PICKLE}, to be converted to {WEIGHTS}."
        raise NeedsConversion(
            f"Model {model_id} has its weights only as {PICKLE}, a format that can run code. With your consent a "
            "copy is made as safetensors, read in a process of its own that makes only tensors."
        )
    if any(name.endswith(".index.json") for name in names):
        raise ModelError(
            f"Model {model_id} has its weights in several files; wanted one {WEIGHTS}. Load it with transformers and "
            "save it again with save_pretrained(..., max_shard_size='50GB')."
        )
    foreign = next((_FOREIGN[name] for name in sorted(names) if name in _FOREIGN), None)
    if foreign is not None:
        raise ModelError(f"Model {model_id} has its weights only for {foreign}; wanted {WEIGHTS} or {PICKLE}.")
    raise ModelError(f"Model {model_id} has no weights: {WEIGHTS} is missing.")


def _tokenizer_words(names: Collection[str], model_id: str) -> str:
    check_tokenizer_files(names, f"Model {model_id}")
    return "It has a tokenizer."


def _family_words(folder: Path, model_id: str) -> str:
    config = read_json(folder / CONFIG)
    family = config.get("model_type")
    if family in FAMILIES:
        return f"Its architecture is {family}."
    own = " It would run code of its own, which is never done." if config.get("auto_map") else ""
    raise ModelError(f"Model {model_id} is of type {family!r:.60}; this app knows: {', '.join(FAMILIES)}.{own}")


def _head_words(folder: Path, model_id: str) -> str:
    listed = read_json(folder / CONFIG).get("architectures") or []
    if not isinstance(listed, list):
        raise ModelError(f"Model {model_id}: its config is damaged (architectures is {listed!r:.60}).")
    named = [str(name) for name in listed]
    if named and not any(name.endswith("ForSequenceClassification") for name in named):
        raise ModelError(
            f"Model {model_id} is a {named[0]:.60}, which does not classify texts: fine-tune it first "
            "(AutoModelForSequenceClassification)."
        )
    return f"It is a {named[0]}." if named else "Its config does not name its head."


def _unnamed(labels: Collection[str]) -> bool:
    return all(label == f"LABEL_{index}" for index, label in enumerate(labels))


def _labels(folder: Path) -> tuple[str, ...]:
    return class_names(read_json(folder / CONFIG), folder / CONFIG)


def _label_words(folder: Path, task: str, model_id: str, reordered: bool) -> str:
    labels = _labels(folder)
    check_labels(model_id, get_task(task).labels if reordered and named_order(labels, task) else labels, task)
    if get_task(task).span:
        return "It has one output, a score."
    names = "without names" if _unnamed(labels) else f"named {', '.join(labels)}"
    return f"It has {len(labels)} classes, {names}."


def _classifier_words(folder: Path, model_id: str) -> str:
    shapes = weight_shapes(folder / WEIGHTS)
    output_layer = family_settings(read_json(folder / CONFIG)).output_layer
    head = [name for name in shapes if name.startswith(f"{output_layer}.")]
    if not head:
        raise ModelError(
            f"Model {model_id} has no classifier among its {len(shapes)} tensors, it is a bare encoder or a language "
            "model: fine-tune it first (AutoModelForSequenceClassification)."
        )
    return "A classifier is among its weights."
