"""The events a training run reports while it works: plain values, no torch."""

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
