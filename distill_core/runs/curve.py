"""The points of one measured number, held compactly."""

from array import array
from collections.abc import Sequence
from typing import overload


class Curve(Sequence[tuple[int, float]]):
    """A sequence of (step, value) that grows at its end.

    Two arrays in place of a list of tuples: a run of 10,000 steps measures some 200,000 points, which as tuples take
    ten times the memory and are visited by every full garbage collection.
    """

    def __init__(self) -> None:
        self._steps, self._values = array("q"), array("d")

    def append(self, step: int, value: float) -> None:
        """Add a point at the end."""
        self._steps.append(step)
        self._values.append(value)

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, index: int) -> tuple[int, float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[int, float]]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, float] | list[tuple[int, float]]:
        if isinstance(index, slice):
            return list(zip(self._steps[index], self._values[index], strict=True))
        return self._steps[index], self._values[index]
