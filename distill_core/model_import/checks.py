"""The checks of a model before it is used: one finding a check; the first failed check is the last.

They are ordered by what they need: the names of the files, the config, the header of the weights, the loaded model, its
predictions on the bundled examples. All texts that the pages and the command line show are written here.
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
from distill_core.storage.encoder_families import family_settings, get_family
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

Result = TypeVar("Result")
PICKLE = "pytorch_model.bin"
SAME_TOKENS = "It splits text into the same tokens as the bundled models."
OTHER_TOKENS = (
    "It splits text into other tokens than the bundled models: it is compared with them by words, and neither can be "
    "distilled from the other."
)
_FOREIGN = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "model.ckpt.index": "TensorFlow"}


def check_folder(folder: Path, task: str, model_id: str) -> Generator[ImportStep | Finding, None, None]:
    """Check the model in a folder for a task; a failed check raises an error, mostly ModelError, after its finding."""
    yield from check_names(file_names(folder, model_id), model_id)
    yield from check_config(folder, task, model_id)
    yield from check_weights(folder, task, model_id)


def file_names(folder: Path, model_id: str) -> set[str]:
    """Return the names of the files in a folder; ModelError if it cannot be read."""
    try:
        return {file.name for file in folder.iterdir() if file.is_file()}
    except OSError as error:
        raise ModelError(f"Model {model_id}: {folder} cannot be read ({error}); check its permissions.") from error


def check_names(names: Collection[str], model_id: str, convert: bool = False) -> Iterator[Finding]:
    """Check the names of a model's files: a config, weights in a readable format and a tokenizer are needed.

    NeedsConversion if the weights are a pickle, unless `convert`.
    """
    yield from _report("files", lambda: _config_words(names, model_id))
    yield from _report("weights", lambda: _weights_words(names, model_id, convert))
    yield from _report("tokenizer", lambda: _tokenizer_words(names, model_id))
    yield from _report_failure("adapter", lambda: check_no_adapter(names, f"Model {model_id}"))


def check_config(folder: Path, task: str, model_id: str, reordered: bool = False) -> Iterator[Finding]:
    """Check a model's config: a known architecture that needs no code from the model, and a head for this task.

    NeedsReordering if it names the task's classes in another order, unless they will be `reordered`.
    """
    yield from _report("architecture", lambda: _family_words(folder, model_id))
    yield from _report_failure("settings", lambda: check_settings(folder, f"Model {model_id}"))
    if read_json(folder / CONFIG).get("auto_map"):
        yield Finding(
            "own code",
            True,
            "It has its own code, which is not run: the code of transformers is used.",
            warning=True,
        )
    yield from _report("head", lambda: _head_words(folder, model_id))
    yield from _report("labels", lambda: _label_words(folder, task, model_id, reordered))
    labels = _labels(folder)
    if not _unnamed(labels) and named_order(labels, task) is None:
        words = f"Its classes are named {', '.join(labels)}, read as {', '.join(get_task(task).labels)}."
        yield Finding("label names", True, words, warning=True)


def check_weights(folder: Path, task: str, model_id: str, reordered: bool = False) -> Iterator[ImportStep | Finding]:
    """Check a model's weights: they include a classifier, all of them load, and the outputs are in the task's order.

    NeedsReordering if the outputs are in another order, unless they were `reordered` already.
    """
    yield from _report("classifier", lambda: _classifier_words(folder, model_id))
    yield ImportStep("Loading the model", 0, 0)
    model = yield from _report_failure("loads", lambda: load_model(folder, model_id))
    yield Finding("loads", True, f"All weights and the tokenizer ({len(model.tokenizer)} tokens) are loaded.")
    same = yield from _report_failure("tokens", lambda: same_as_bundled(model.tokenizer))
    yield Finding("tokens", True, SAME_TOKENS if same else OTHER_TOKENS, warning=not same)
    if loses_capitals(model.tokenizer):
        words = 'Its tokenizer lower-cases text, but its vocabulary has capitals: put "do_lower_case": false into its '
        yield Finding("casing", True, f"{words}tokenizer_config.json if the model is a cased one.", warning=True)
    yield ImportStep("Running it on the bundled examples", 0, 0)
    assessment = yield from _report_failure(
        "answers", lambda: assess_answers(model, task)
    )  # raises if its logits are not finite
    if assessment.doubt is not None:
        doubt = assessment.doubt
        if reordered:
            doubt = (
                f"Model {model_id}: the names of its classes contradict its predictions. In the order of "
                f"its names it has {assessment.words}. If the names are wrong, correct id2label in its config.json."
            )
        yield Finding("answers", False, doubt)
        raise NeedsReordering(doubt) if assessment.order and not reordered else ModelError(doubt)
    if assessment.scale is not None:
        yield Finding("scale", True, assessment.scale, warning=True)
    weak = "; it may know little of this task, or be trained for another one" if assessment.weak else ""
    yield Finding(
        "answers", True, f"{assessment.words[:1].upper()}{assessment.words[1:]}{weak}.", warning=assessment.weak
    )


def reorder_classes(folder: Path, task: str, model_id: str) -> Iterator[Finding]:
    """Reorder the classes of the copy in a folder as the task has them: by their names, else by its predictions."""
    labels, wanted = _labels(folder), get_task(task).labels
    order = named_order(labels, task) or assess_answers(load_model(folder, model_id), task).order
    if order is not None and order != tuple(range(len(order))):
        reorder(folder, task, order)
        words = f"Its outputs were {', '.join(wanted[label] for label in order)}; in the copy: {', '.join(wanted)}."
        yield Finding("order", True, words, warning=True)


def _report(check: str, check_model: Callable[[], str]) -> Iterator[Finding]:
    """Yield the finding of a check, whose result is its words; raise the error of a failed one after its finding."""
    words = yield from _report_failure(check, check_model)
    yield Finding(check, True, words)


def _report_failure(check: str, check_model: Callable[[], Result]) -> Generator[Finding, None, Result]:
    """Return the result of a check; yield a finding only if it fails, and raise its error."""
    try:
        return check_model()
    except DistillError as error:
        yield Finding(check, False, str(error))
        raise


def _config_words(names: Collection[str], model_id: str) -> str:
    if "config.json" not in names:
        raise ModelError(f"Model {model_id}: config.json is missing; choose a plain Hugging Face model.")
    return "It has a config.json."


def _weights_words(names: Collection[str], model_id: str, convert: bool) -> str:
    if WEIGHTS in names:
        return f"Its weights are in {WEIGHTS}, a format that cannot run code."
    if PICKLE in names:
        if convert:
            return f"Its weights are in {PICKLE}, to be converted to {WEIGHTS}."
        raise NeedsConversion(
            f"Model {model_id} has its weights only as {PICKLE}, a format that can run code. With your consent "
            "it is copied as safetensors, read in a separate process that creates only tensors."
        )
    if any(name.endswith(".index.json") for name in names):
        raise ModelError(
            f"Model {model_id} has its weights in several files; wanted one {WEIGHTS}. Load it with transformers and "
            "save it again with save_pretrained(..., max_shard_size='50GB')."
        )
    foreign = next((_FOREIGN[name] for name in sorted(names) if name in _FOREIGN), None)
    if foreign is not None:
        raise ModelError(
            f"Model {model_id} has its weights only for {foreign}; wanted {WEIGHTS} or {PICKLE}. Save it with PyTorch."
        )
    raise ModelError(f"Model {model_id} has no weights: {WEIGHTS} is missing. Choose another model.")


def _tokenizer_words(names: Collection[str], model_id: str) -> str:
    check_tokenizer_files(names, f"Model {model_id}")
    return "It has a tokenizer."


def _family_words(folder: Path, model_id: str) -> str:
    config = read_json(folder / CONFIG)
    own_code = " (it needs its own code, which is never run)" if config.get("auto_map") else ""
    family = get_family(config.get("model_type"), f"Model {model_id}{own_code}")
    return f"Its architecture is {family.model_type}."


def _head_words(folder: Path, model_id: str) -> str:
    listed = read_json(folder / CONFIG).get("architectures") or []
    if not isinstance(listed, list):
        raise ModelError(f"Model {model_id}: its config is damaged (architectures is {listed!r:.60}); correct it.")
    heads = [str(name) for name in listed]
    if heads and not any(name.endswith("ForSequenceClassification") for name in heads):
        raise ModelError(
            f"Model {model_id} is a {heads[0]:.60}, which does not classify texts: fine-tune it first "
            "(AutoModelForSequenceClassification)."
        )
    return f"It is a {heads[0]}." if heads else "Its config does not name its head."


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
            f"Model {model_id} has no classifier among its {len(shapes)} tensors, it is an encoder without a head or a "
            "language model: fine-tune it first (AutoModelForSequenceClassification)."
        )
    return "A classifier is among its weights."
