"""A run's settings in words: the choices of the form, and the settings shown on a run's page."""

from collections.abc import Sequence

from distill_core.catalog.catalog import find_model
from distill_core.config.methods import DISTILLATION_METHODS, methods_reading
from distill_core.config.run_config import FIELDS, MONITORS, RunConfig
from distill_core.data.tasks import TASKS
from distill_core.devices import device_title, kind_of
from distill_core.errors import ModelError
from distill_core.runs.events import DataUsed
from distill_core.runs.run import Run
from distill_core.storage.checkpoints import KEEP_CHOICES
from pages.components.data_sources import source_titles

BEGINNINGS = {
    "first": "Teacher’s first layers",
    "even": "Teacher’s even layers",
    "last": "Teacher’s last layers",
    "random": "Random weights",
}
CHOICES = {
    "precision": {"auto": "Automatic", "float32": "float32", "bfloat16": "bfloat16, mixed"},
    "dropout": {"published": "As published", "on": "On", "off": "Off"},
    "monitor": dict(zip(MONITORS, ("Task metric", "Signed cosine", "Cosine", "Spearman’s ρ"), strict=True)),
    "keep": dict(zip(KEEP_CHOICES, ("Best and last", "Last", "Best"), strict=True)),
    "weak_teacher": {"stop": "Stop the run", "go_on": "Continue"},
    "kd_form": {"cross_entropy": "Soft cross-entropy", "kl": "KL divergence × τ²/C"},
    "temperature_schedule": {"fixed": "Constant", "annealed": "Falls to 1"},
    "matching": {"skip": "Evenly spaced", "last": "Last layers"},
    "map_norm": {"l2": "L2", "l1": "L1"},
    "map_distance": {"l2": "Squared (L2)", "l1": "Absolute (L1)", "smooth_l1": "Smooth L1"},
}
EMPTY = {  # what an empty setting means
    "train_examples": "All",
    "micro_batch": "As memory allows",
    "top_k": "All",
    "relation_heads": "Up to 12",
    "relation_layer": "Last, or 7/8 of a deep teacher",
    "early_stopping_patience": "Never",
    "max_minutes": "No limit",
}


def unread(name: str, method: str) -> bool:
    """Return whether only some methods read a setting and this method does not."""
    methods = methods_reading(name)
    return bool(methods) and method not in methods


def used_settings(run: Run, used: Sequence[DataUsed] = ()) -> dict[str, str]:
    """Return a run's settings under the labels and in the words of the form, without those it did not use.

    `used`: the run's data; where the steps use a part of the training examples only, their number is added.
    """
    config = run.config
    left_out = {name for name in FIELDS if unread(name, config.method)}
    left_out |= set() if run.name else {"name"}
    left_out |= set() if config.made_from_teacher else {"student_layers"}
    settings = {spec.label: _used(run, name) for name, spec in FIELDS.items() if name not in left_out}
    examples = next((data.examples for data in used if data.split == "train"), None)
    if examples is not None and examples != run.config.train_examples:
        settings[FIELDS["train_examples"].label] += f" ({examples:,} used)"
    return settings


def _used(run: Run, name: str) -> str:
    """Return one setting's value in words."""
    config, value = run.config, run.name if name == "name" else getattr(run.config, name)
    if name == "task":
        return TASKS[config.task].short_title
    if name == "method":
        return DISTILLATION_METHODS[config.method].title
    if name == "source":
        return source_titles(config.task, config.source)[config.source]
    if name in ("teacher", "student_init"):
        return (
            BEGINNINGS[config.student_init]
            if name == "student_init" and config.made_from_teacher
            else _model(str(value))
        )
    if name == "device":
        if run.device is None:  # not chosen yet
            return device_title(config.device)
        return device_title(run.device) + (" (chosen automatically)" if config.device == "auto" else "")
    if name == "precision" and value == "auto":
        return _automatic_precision(run)
    if name == "dropout" and value == "published":
        return f"{'On' if config.uses_dropout else 'Off'} (as published)"
    if value is None:
        return EMPTY[name]
    if name in CHOICES:
        return CHOICES[name][str(value)]
    return _number(config, name)


def _number(config: RunConfig, name: str) -> str:
    value = getattr(config, name)
    if isinstance(value, int) and name != "seed":
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _automatic_precision(run: Run) -> str:
    """Return what `auto` means for the run: bfloat16 on CUDA devices that support it."""
    if run.device is None:
        return CHOICES["precision"]["auto"]
    words = "float32" if kind_of(run.device) != "cuda" else "bfloat16, mixed, where the device supports it"
    return f"{words} (chosen automatically)"


def _model(model_id: str) -> str:
    """Return a model's title and id, or the id alone if the model no longer exists."""
    try:
        return f"{find_model(model_id).title} ({model_id})"
    except ModelError:
        return model_id
