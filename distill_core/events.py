"""What a training run says while it works: plain values that the store can keep without torch."""

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


Event = Phase | Measured | Note
