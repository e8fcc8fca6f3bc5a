"""The remaining time of a training, with a range that shows how certain the estimate is.

Both are computed from the durations of its steps and evaluations so far. The estimate assumes that all steps are taken,
because early stopping cannot be predicted.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
from scipy.special import stdtrit

HIGH_QUANTILE = 0.9  # of `high`; that of `low` is 1 minus this
STEPS_REMEMBERED = 4000  # the durations of older steps are dropped
FEWEST = 20  # durations that are used at least, if there are as many
PRIOR_SPREAD, PRIOR_WEIGHT = 0.3, 2  # relative spread assumed before any is measured; it counts as so many durations
FEWEST_BLOCKS = 3  # with fewer means of blocks their variance is too uncertain
DRIFT = 0.2  # relative change of the machine's load during a run, from the step times of 49 real runs


@dataclass(frozen=True)
class Forecast:
    """Remaining seconds: the most likely value, the 10th and the 90th percentile."""

    likely: float
    low: float
    high: float

    def within(self, limit: float) -> "Forecast":
        """Return the forecast of a training that ends after `limit` seconds at the latest."""
        return Forecast(*(min(limit, seconds) for seconds in (self.likely, self.low, self.high)))


class EtaEstimator:
    """The durations of a training's steps and evaluations, in seconds, and the forecast that follows from them."""

    def __init__(self, evaluations: Iterable[float] = ()) -> None:
        """Start with the durations of evaluations that an earlier process measured."""
        self._steps: deque[float] = deque(maxlen=STEPS_REMEMBERED)
        self._evaluations = deque(evaluations, maxlen=FEWEST)

    @property
    def evaluations(self) -> list[float]:
        """The durations of the latest evaluations, saving the student included."""
        return list(self._evaluations)

    @property
    def longest(self) -> float:
        """The longest of these durations, 0 before the first evaluation."""
        return max(self._evaluations, default=0.0)

    def step(self, seconds: float) -> None:
        """Record the duration of a step."""
        self._steps.append(seconds)

    def evaluation(self, seconds: float) -> None:
        """Record the duration of an evaluation."""
        self._evaluations.append(seconds)

    def forecast(self, steps: int, evaluations: int) -> Forecast | None:
        """Return the time that further steps and evaluations will take; None if one of them was never measured."""
        if (steps and not self._steps) or (evaluations and not self._evaluations):
            return None
        step_seconds, step_margin = _sum(self._steps, steps)
        evaluation_seconds, evaluation_margin = _sum(self._evaluations, evaluations)
        likely, half = step_seconds + evaluation_seconds, hypot(step_margin, evaluation_margin)
        return Forecast(likely, max(0.0, likely - half), likely + half)


def _sum(times: Sequence[float], count: int) -> tuple[float, float]:
    """Return the expected sum of `count` further durations, and its margin of error at HIGH_QUANTILE.

    Only the later half of the measured durations is used, because the first steps of a run are often slower.
    Neighbouring durations are correlated (a busy machine stays busy). Therefore the spread is also computed from means
    of blocks of several sizes, and the widest is used. DRIFT, which past durations do not show, is added.
    """
    if not count:
        return 0.0, 0.0
    latest = np.array(times)[-max(FEWEST, len(times) // 2) :]
    mean, measured = float(latest.mean()), len(latest)
    degrees = PRIOR_WEIGHT + measured - 1
    variance = (PRIOR_WEIGHT * (PRIOR_SPREAD * mean) ** 2 + float(((latest - mean) ** 2).sum())) / degrees
    margins = [_quantile(degrees) * sqrt(variance)]
    size = 2
    while measured // size >= FEWEST_BLOCKS:
        blocks = measured // size
        means = latest[-blocks * size :].reshape(blocks, size).mean(axis=1)
        margins.append(_quantile(blocks - 1) * sqrt(size * float(means.var(ddof=1))))
        size *= 2
    return count * mean, hypot(max(margins) * sqrt(count + count**2 / measured), DRIFT * count * mean)


def _quantile(degrees: int) -> float:
    """Return Student's t at HIGH_QUANTILE."""
    return float(stdtrit(degrees, HIGH_QUANTILE))
