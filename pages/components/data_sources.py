"""The sources of examples, with their titles on the pages."""

from collections.abc import Mapping
from pathlib import Path

from distill_core.data.datasets import glue_folder
from distill_core.data.user_datasets import USER_SOURCE_PREFIX, list_user_datasets

FIRST_SOURCE = "auto"
HUB = "hub"


def source_titles(task: str, chosen: str) -> dict[str, str]:
    """Return the sources of a task with their titles; `chosen` comes last if it is a folder that is not among them."""
    titles = {FIRST_SOURCE: "Automatic", "bundled": "Bundled sample", HUB: "GLUE from the hub"}
    named = glue_folder()
    if named is not None:
        titles[str(named)] = f"GLUE in {named.name}"
    titles |= {data.source: data.name for data in list_user_datasets(task)}
    titles.setdefault(chosen, Path(chosen).name or chosen)
    return unique_titles(titles)


def source_for(task: str, source: str) -> str:
    """Return a source if it can have examples of this task, otherwise the first: a user's dataset has one task."""
    other = source.startswith(USER_SOURCE_PREFIX) and source not in {data.source for data in list_user_datasets(task)}
    return FIRST_SOURCE if other else source


def split_title(split: str) -> str:
    """Return the title of a split: Training, Validation, or Matched and Mismatched."""
    return "Training" if split == "train" else split.removeprefix("validation_").capitalize()


def unique_titles(titles: Mapping[str, str]) -> dict[str, str]:
    """Return the titles, each with its key added where two are the same."""
    shared = {title for title in titles.values() if list(titles.values()).count(title) > 1}
    return {key: f"{title} ({key})" if title in shared else title for key, title in titles.items()}
