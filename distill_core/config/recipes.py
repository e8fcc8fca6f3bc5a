"""The papers' published settings by task, and the differences between them and a run's settings.

A recipe leaves teacher, student and data to the run. The papers use BERT-base, half its layers and all of the task's
data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.errors import ConfigError

YOURS = "Teacher, student and data are those of this run."
WIDTH = 768  # of the teachers in the papers; K is a number of these dimensions
EVALUATIONS = 20  # about this many in a run (ours; the papers evaluate after each epoch)
GLUE_SIZES = {  # training examples in GLUE's own files
    "cola": 8551, "sst2": 67349, "mrpc": 3668, "qqp": 363846, "stsb": 5749, "mnli": 392702, "qnli": 104743,
    "rte": 2490, "wnli": 635,
}  # fmt: skip
_AD_KD = "Wu et al., ACL 2023, the authors' scripts: BERT-base as teacher, 6 layers as student"
_GKD = "Wang, Li, Sun 2022, the authors' defaults, without a method weight: BERT-base as teacher, 6 layers as student"


@dataclass(frozen=True)
class Recipe:
    """One published recipe: its task and method, the passes over the training set, and the settings."""

    name: str
    task: str
    method: str
    source: str
    epochs: int
    settings: Mapping[str, object]

    def published(self, examples: int, width: int = WIDTH, batch_size: int | None = None) -> dict[str, object]:
        """Return the published settings for this number of training examples, with the passes converted to steps.

        `width`: the teacher's; K becomes the same share of its dimensions (ours). `batch_size`: examples in a step,
        None for the recipe's.
        """
        steps = self.epochs * ceil(examples / (batch_size or int(str(self.settings["batch_size"]))))
        settings = {"task": self.task, "method": self.method, "steps": steps, **self.settings, **_UNTOUCHED}
        top_k = self.settings.get("top_k")
        if isinstance(top_k, int):
            settings["top_k"] = None if top_k == WIDTH else round(top_k * (width or WIDTH) / WIDTH)
        return settings

    def values(self, examples: int, width: int = WIDTH, batch_size: int | None = None) -> dict[str, object]:
        """Return all settings of a run by this recipe: the published ones, and ours where none are published."""
        published = self.published(examples, width, batch_size)
        steps = int(str(published["steps"]))
        return {"method_weight": 1.0, "evaluate_every": max(20, ceil(steps / EVALUATIONS)), **published}

    def changes(self, config: RunConfig, examples: int, width: int = WIDTH) -> dict[str, tuple[object, object]]:
        """Return the settings in which a run differs from the recipe: name to (the recipe's value, the run's)."""
        published = self.published(examples, width)
        return {
            name: (value, getattr(config, name)) for name, value in published.items() if getattr(config, name) != value
        }


_UNTOUCHED = {  # settings that the papers do not have, at values without effect
    "method_delay": 0, "method_ramp": 0, "method_every": 1, "dropout": "published", "train_examples": None
}  # fmt: skip


def _ad_kd(
    task: str, epochs: int, batch: int, rate: float, alpha: float, tau: float, weight: float, top_k: int, schedule: str
) -> Recipe:
    settings = {
        "batch_size": batch, "learning_rate": rate, "alpha": alpha, "temperature": tau,
        "temperature_schedule": schedule, "kd_form": "cross_entropy", "method_weight": weight, "top_k": top_k,
        "attribution_steps": 1, "map_norm": "l2", "map_distance": "l2", "max_length": 128
    }  # fmt: skip
    return Recipe(f"ad-kd/{task}", task, "ad_kd", _AD_KD, epochs, settings)


def _gkd(task: str) -> Recipe:
    settings = {
        "batch_size": 32, "learning_rate": 5e-5, "alpha": 0.5, "temperature": 5.0, "temperature_schedule": "fixed",
        "kd_form": "kl", "max_length": 128, "dropout": "published",
    }  # fmt: skip
    return Recipe(f"gkd/{task}", task, "gkd", _GKD, 4, settings)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _ad_kd("cola", 10, 32, 4e-5, 0.9, 1.0, 1.0, 768, "fixed"),
        _ad_kd("sst2", 6, 32, 5e-5, 0.8, 2.0, 1.0, 768, "fixed"),
        _ad_kd("mrpc", 10, 16, 3e-5, 0.9, 4.0, 10.0, 768, "annealed"),
        _ad_kd("stsb", 8, 16, 5e-5, 0.8, 3.0, 1.0, 640, "fixed"),
        _ad_kd("qqp", 8, 32, 4e-5, 1.0, 4.0, 50.0, 734, "annealed"),
        _ad_kd("mnli", 6, 64, 4e-5, 0.8, 3.0, 10.0, 768, "annealed"),
        _ad_kd("qnli", 6, 32, 4e-5, 0.9, 3.0, 100.0, 768, "fixed"),
        _ad_kd("rte", 12, 16, 2e-5, 0.9, 2.0, 10.0, 700, "fixed"),
        *map(_gkd, ("sst2", "qnli", "mnli", "qqp")),
    )
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of this name; ConfigError that names the valid ones."""
    if name not in RECIPES:
        raise ConfigError(f"Unknown recipe {name[:80]!r}; choose one of: {', '.join(RECIPES)}.")
    return RECIPES[name]


def recipes_for(task: str, method: str) -> list[Recipe]:
    """Return the recipes of a task and method."""
    return [recipe for recipe in RECIPES.values() if (recipe.task, recipe.method) == (task, method)]


def changes_in_words(recipe: Recipe, config: RunConfig, examples: int, width: int = WIDTH) -> str:
    """Describe in which settings a run differs from its recipe, for so many examples and a teacher of this width."""
    parts = []
    for name, (published, current) in recipe.changes(config, examples, width).items():
        value = f"{_shown(published)} in {recipe.epochs} epochs" if name == "steps" else _shown(published)
        parts.append(f"{FIELDS[name].label} {_shown(current)} (published: {value})")
    if not isinstance(recipe.settings.get("method_weight"), float) and config.method_weight != 1:
        parts.append(f"{FIELDS['method_weight'].label} {_shown(config.method_weight)} (none published)")
    words = f"Changed: {'; '.join(parts)}." if parts else "Settings as published."
    top_k = recipe.settings.get("top_k")
    if isinstance(top_k, int) and top_k != WIDTH != width:
        words += f" K is {round(top_k * width / WIDTH)} of {width} dimensions (published: {top_k} of {WIDTH})."
    return f"{words} {YOURS}"


def _shown(value: object) -> str:
    if value is None:
        return "all"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
