"""What a training run, or the import of a model, says while it works: plain values, no torch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """The run has entered a phase: loading, training, evaluating or saving."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Measured:
    """Named numbers taken after optimizer step `step` (0 = before the first)."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Note:
    """One line for the log."""

    text: str


@dataclass(frozen=True)
class DataUsed:
    """The run trains (`split` is train) or validates on these examples.

    `source`: where they are from, in words; `fingerprint`: SHA-256 of texts and labels in their order.
    """

    split: str
    source: str
    examples: int
    fingerprint: str

    @property
    def text(self) -> str:
        """The same in one line."""
        doing = "training" if self.split == "train" else "validating"
        return f"{doing} on {self.examples} examples from {self.source} ({self.fingerprint[:8]})"


@dataclass(frozen=True)
class Ended:
    """The run ends before its last step, as its settings ask; why, in words."""

    text: str


Event = Phase | Measured | Note | DataUsed | Ended


@dataclass(frozen=True)
class Step:
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
