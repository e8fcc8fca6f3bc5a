"""The events of an import, its progress and the result of each check; imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImportStep:
    """The import is working on `what`: `done` of `total` bytes, a total of 0 if it is unknown."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Finding:
    """The result of one check of a model, in `words`.

    `passed`: False if the model cannot be used; an error with the same words follows. `warning`: the model can be used,
    but the user should know the result.
    """

    check: str
    passed: bool
    words: str
    warning: bool = False
