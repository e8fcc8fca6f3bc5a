"""The sources of examples, with their titles on the pages."""

from collections.abc import Mapping
from pathlib import Path

from distill_core.data.datasets import glue_folder
from distill_core.data.user_datasets import USER_SOURCE_PREFIX, list_user_datasets

FIRST_SOURCE = "auto"
HUB = "hub"


def source_titles(task: str, chosen: str) -> dict[str, str]:
    """Return what can be picked for a task: source to name; `chosen`, if none of them, a folder, comes last."""
    titles = {FIRST_SOURCE: "Automatic", "bundled": "Bundled sample", HUB: "GLUE from the hub"}
    named = glue_folder()
    if named is not None:
        titles[str(named)] = f"GLUE in {named.name}"
    titles |= {data.source: data.name for data in list_user_datasets(task)}
    titles.setdefault(chosen, Path(chosen).name or chosen)
    return unique_titles(titles)


def source_for(task: str, source: str) -> str:
    """Return a source if it may have this task's examples, else the first: own data is of one task."""
    other = source.startswith(USER_SOURCE_PREFIX) and source not in {data.source for data in list_user_datasets(task)}
    return FIRST_SOURCE if other else source


def split_title(split: str) -> str:
    """Return what a split is called: Training, Validation, or Matched and Mismatched."""
    return "Training" if split == "train" else split.removeprefix("validation_").capitalize()


def unique_titles(titles: Mapping[str, str]) -> dict[str, str]:
    """Return the titles, with the key where two share one."""
    shared = {title for title in titles.values() if list(titles.values()).count(title) > 1}
    return {key: f"{title} ({key})" if title in shared else title for key, title in titles.items()}
