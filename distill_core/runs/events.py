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
    """Numbers measured after optimizer step `step` (0: before the first), by name."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Note:
    """One line for the log."""

    text: str


@dataclass(frozen=True)
class DataUsed:
    """The run trains (`split` is train) or validates on these examples.

    `source`: a description of where they come from; `fingerprint`: SHA-256 of the texts and labels in order.
    """

    split: str
    source: str
    examples: int
    fingerprint: str

    @property
    def text(self) -> str:
        """One line for the log."""
        doing = "training" if self.split == "train" else "validating"
        return f"{doing} on {self.examples} examples from {self.source} ({self.fingerprint[:8]})"


@dataclass(frozen=True)
class Ended:
    """The run ends before its last step because of its settings; `text` is the reason."""

    text: str


Event = Phase | Measured | Note | DataUsed | Ended
