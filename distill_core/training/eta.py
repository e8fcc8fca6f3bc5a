"""How long a training will still take, with a spread that says how sure that is.

Both are told from what its steps and evaluations have taken so far; an end before the last step cannot be foreseen.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from scipy.special import stdtrit

LIKELY = 0.9  # the quantile of `high`; that of `low` is 1 minus this
REMEMBERED = 4000  # of the latest steps
FEWEST = 20  # of the latest times that are counted, where there are as many
DOUBT, DOUBT_SEEN = 0.3, 2  # what is assumed of times before they are known: their relative spread, worth so many
BLOCKS = 3  # at least so many blocks tell a spread
DRIFT = 0.2  # how far the machine may be busier, or less busy, than it was: by what 49 real runs took, step by step


@dataclass(frozen=True)
class Forecast:
    """Seconds still to go: most likely, and a 10th and a 90th percentile."""

    likely: float
    low: float
    high: float

    def within(self, limit: float) -> "Forecast":
        """Return it where an end comes after `limit` seconds at the latest."""
        return Forecast(*(min(limit, seconds) for seconds in (self.likely, self.low, self.high)))


class EtaEstimator:
    """The times of a training's steps and evaluations, in seconds, and what follows for those to come."""

    def __init__(self, evaluations: Iterable[float] = ()) -> None:
        """Begin with what is known of evaluations from an earlier process."""
        self._steps: deque[float] = deque(maxlen=REMEMBERED)
        self._evaluations = deque(evaluations, maxlen=FEWEST)

    @property
    def evaluations(self) -> list[float]:
        """What the latest evaluations took, with saving the student."""
        return list(self._evaluations)

    @property
    def longest(self) -> float:
        """The longest of them, 0 before there is one."""
        return max(self._evaluations, default=0.0)

    def step(self, seconds: float) -> None:
        """Take note of a step."""
        self._steps.append(seconds)

    def evaluation(self, seconds: float) -> None:
        """Take note of an evaluation."""
        self._evaluations.append(seconds)

    def forecast(self, steps: int, evaluations: int) -> Forecast | None:
        """Return how long so many steps and evaluations will take; None where nothing is known of either."""
        if (steps and not self._steps) or (evaluations and not self._evaluations):
            return None
        training, off = _sum(self._steps, steps)
        looking, also_off = _sum(self._evaluations, evaluations)
        likely, half = training + looking, hypot(off, also_off)
        return Forecast(likely, max(0.0, likely - half), likely + half)


def _sum(times: Sequence[float], count: int) -> tuple[float, float]:
    """Return the sum of `count` times to come, and how far off it may be.

    The later half of those seen counts, as the first steps of a run are often slower. Times that lie together are
    alike (a busy machine stays busy), so the spread is also taken of means of blocks of them, and the widest holds;
    DRIFT, which no time seen can tell, comes on top.
    """
    if not count:
        return 0.0, 0.0
    seen = np.array(times)[-max(FEWEST, len(times) // 2) :]
    mean, known = float(seen.mean()), len(seen)
    degrees = DOUBT_SEEN + known - 1
    variance = (DOUBT_SEEN * (DOUBT * mean) ** 2 + float(((seen - mean) ** 2).sum())) / degrees
    halves = [_quantile(degrees) * sqrt(variance)]
    size = 2
    while known // size >= BLOCKS:
        blocks = known // size
        means = seen[-blocks * size :].reshape(blocks, size).mean(axis=1)
        halves.append(_quantile(blocks - 1) * sqrt(size * float(means.var(ddof=1))))
        size *= 2
    return count * mean, hypot(max(halves) * sqrt(count + count**2 / known), DRIFT * count * mean)


def _quantile(degrees: int) -> float:
    """Return Student's t at LIKELY."""
    return float(stdtrit(degrees, LIKELY))
