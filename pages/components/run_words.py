"""A run's settings in words: as the form offers them, and as a run's page says what was used."""

from distill_core.config import WATCHED
from distill_core.methods import METHODS

BEGINNINGS = {
    "first": "Teacher’s first layers",
    "even": "Teacher’s even layers",
    "last": "Teacher’s last layers",
    "random": "Random weights",
}
DEVICES = {"cpu": "CPU", "cuda": "CUDA", "mps": "MPS"}
CHOICES = {
    "precision": {"auto": "Automatic", "float32": "float32", "bfloat16": "bfloat16, mixed"},
    "dropout": {"published": "As published", "on": "On", "off": "Off"},
    "watched": dict(zip(WATCHED, ("Task’s metric", "Signed cosine", "Cosine", "Spearman’s ρ"), strict=True)),
    "weak_teacher": {"stop": "Stop the run", "go_on": "Go on"},
    "kd_form": {"cross_entropy": "Soft cross-entropy", "kl": "KL divergence × τ²"},
    "temperature_schedule": {"fixed": "Stays", "annealed": "Falls to 1"},
    "matching": {"skip": "Evenly spaced", "last": "The last ones"},
    "map_norm": {"l2": "L2", "l1": "L1"},
    "map_distance": {"l2": "Squared (L2)", "l1": "Absolute (L1)", "smooth_l1": "Smooth L1"},
}
EMPTY = {  # what a setting that was left empty means
    "train_examples": "All",
    "micro_batch": "What memory allows",
    "top_k": "All",
    "patience": "Never",
    "max_minutes": "Any",
}


def unread(name: str, method: str) -> bool:
    """Tell whether a setting is one of those that only some methods read, and this one does not."""
    readers = [other for other, info in METHODS.items() if name in info.settings]
    return bool(readers) and method not in readers
