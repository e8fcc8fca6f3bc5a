"""The events of an import: how far a step is, and what each check of the model found; imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImportStep:
    """An import is at work on `what`: `done` of `total` bytes, a total of 0 where it is not known."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Finding:
    """What one check of a model found, in words.

    `passed`: False where the model cannot be used; a ModelError of the same words follows. `warning`: it can be
    used, but the user should know.
    """

    check: str
    passed: bool
    words: str
    warning: bool = False
