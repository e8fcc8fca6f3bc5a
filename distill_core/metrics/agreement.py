"""The agreement of a student's attribution map with its teacher's, for one example and over many.

Every measure takes the scores of the tokens to compare (one example, no padding) and returns a float, or Undefined with
the reason where no number is meaningful. A map compared with itself gives exactly 1 (a distance: exactly 0), not
0.9999999 by rounding.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import rel_entr

from distill_core.errors import AttributionError

TOP_SHARE = 0.2  # share of the tokens that count as top tokens, at least one (ours)
EXACT = 1e-12  # a correlation closer than this to ±1 differs from it by rounding
NO_DIVERGENCE = 1e-15  # a smaller divergence is rounding, but its root would be a visible 1e-8

AGREEMENT_METRICS: Mapping[str, str] = {
    "cosine": "Cosine similarity of the maps: 1 if they are the same up to scale, 0 if unrelated, −1 if opposite.",
    "spearman": "How alike both rank the tokens by score, whatever the size of the scores (ρ).",
    "kendall": "Token pairs that both rank alike minus those they rank oppositely, as a share (τ-b).",
    "top_k_overlap": "Tokens in both top fifths by |score|, as a share of those in either (Jaccard).",
    "sign_agreement": "Share of tokens that push both models the same way.",
    "saliency_loyalty": "How alike both distribute their |scores| over the tokens (1 − √JSD).",
    "label_loyalty": "1 if the student gives the teacher’s answer, else 0.",
    "probability_loyalty": "How close the class probabilities are (1 − √JSD).",
}


@dataclass(frozen=True)
class Undefined:
    """No number is defined; `reason` says why in a few words."""

    reason: str


AgreementValue = float | Undefined
Scores = ArrayLike  # (T,) scores of the tokens compared: a tensor on the CPU, an array or a sequence of floats


def compare_maps(
    teacher: Scores, student: Scores, *, signed: bool = True, top_share: float = TOP_SHARE
) -> dict[str, AgreementValue]:
    """Return every map measure of AGREEMENT_METRICS for one example; `signed`: the method's scores may be negative."""
    return {
        "cosine": cosine(teacher, student),
        "spearman": spearman(teacher, student),
        "kendall": kendall(teacher, student),
        "top_k_overlap": top_k_overlap(teacher, student, share=top_share),
        "sign_agreement": sign_agreement(teacher, student) if signed else Undefined("the method's scores have no sign"),
        "saliency_loyalty": saliency_loyalty(teacher, student),
    }


def cosine(teacher: Scores, student: Scores) -> AgreementValue:
    """Return the cosine similarity, -1 to 1; undefined for one token or a map that is zero everywhere."""
    a, b = _pair(teacher, student)
    reason = _unusable(a, b) or _zero(a, b)
    return Undefined(reason) if reason else _cosine(a, b)


def spearman(teacher: Scores, student: Scores) -> AgreementValue:
    """Return Spearman's ρ, ties at their mean rank; undefined for one token or a constant map."""
    a, b = _pair(teacher, student)
    reason = _unusable(a, b) or _constant(a, b)
    return Undefined(reason) if reason else _bounded(float(stats.spearmanr(a, b).statistic))


def kendall(teacher: Scores, student: Scores) -> AgreementValue:
    """Return Kendall's τ-b; undefined for one token or a constant map."""
    a, b = _pair(teacher, student)
    reason = _unusable(a, b) or _constant(a, b)
    return Undefined(reason) if reason else _bounded(float(stats.kendalltau(a, b).statistic))


def top_k_overlap(teacher: Scores, student: Scores, *, share: float = TOP_SHARE) -> AgreementValue:
    """Return |A ∩ B| / |A ∪ B| of the k tokens of largest |score|, k = `share` of the tokens, at least 1.

    Undefined if all tokens are top tokens, or if a map's k-th and next largest |score| are equal: the top tokens would
    then depend on their order.
    """
    a, b = (np.abs(scores) for scores in _pair(teacher, student))
    k = max(1, round(share * len(a)))
    reason = _unusable(a, b) or _constant(a, b, "absolute scores")
    if not reason and k >= len(a):
        reason = f"the top {k} are all there are"
    if not reason:
        reason = _either(a, b, lambda scores: _tied(scores, k), f"top {k} are not distinct from the rest")
    if reason:
        return Undefined(reason)
    tops = [set(np.argsort(-scores, kind="stable")[:k].tolist()) for scores in (a, b)]
    return len(tops[0] & tops[1]) / len(tops[0] | tops[1])


def sign_agreement(teacher: Scores, student: Scores) -> AgreementValue:
    """Return the share of tokens whose scores have the same sign, for methods with signs.

    A token that is exactly zero in both maps is not counted; zero in only one counts as disagreement.
    """
    a, b = _pair(teacher, student)
    reason = _unusable(a, b) or _zero(a, b)
    if reason:
        return Undefined(reason)
    nonzero = (a != 0) | (b != 0)
    return float(np.mean(np.sign(a[nonzero]) == np.sign(b[nonzero])))


def saliency_loyalty(teacher: Scores, student: Scores) -> AgreementValue:
    """Return 1 − √JSD₂ of the two distributions of |score| over tokens, 0 to 1."""
    a, b = (np.abs(scores) for scores in _pair(teacher, student))
    reason = _unusable(a, b) or _zero(a, b)
    return Undefined(reason) if reason else _loyalty(a, b)


def ad_kd_distance(teacher: Scores, student: Scores) -> AgreementValue:
    """Return Σ (a_t − a_s)² / number of nonzero teacher entries, both maps' |scores| scaled to L2 norm 1.

    The loss term of AD-KD (Wu et al. 2023), for maps that are L2 norms over the width.
    """
    a, b = (np.abs(scores) for scores in _pair(teacher, student))
    reason = _unusable(a, b) or _zero(a, b)
    if reason:
        return Undefined(reason)
    difference = a / math.sqrt(math.fsum(a * a)) - b / math.sqrt(math.fsum(b * b))
    return float(np.sum(difference**2) / np.count_nonzero(a))


def label_loyalty(teacher_logits: Scores, student_logits: Scores) -> float:
    """Return 1.0 if both models predict the same class, else 0.0 (Xu et al. 2021, arXiv 2109.03228)."""
    a, b = _pair(teacher_logits, student_logits)
    return float(np.argmax(a) == np.argmax(b))


def probability_loyalty(teacher_probabilities: Scores, student_probabilities: Scores) -> float:
    """Return 1 − √JSD₂ of the class probabilities, 0 to 1 (Xu et al. 2021)."""
    return _loyalty(*_pair(teacher_probabilities, student_probabilities))


@dataclass(frozen=True)
class Summary:
    """A measure over many examples: mean and its bootstrap 95 % interval over the `defined` ones.

    `mean` is None if no example is defined, `low` and `high` if fewer than two are.
    """

    mean: float | None
    low: float | None
    high: float | None
    defined: int
    undefined: int


def summarise(values: Sequence[AgreementValue], *, seed: int = 0, resamples: int = 2000) -> Summary:
    """Return mean, percentile bootstrap interval and counts of one measure over many examples."""
    numbers = [value for value in values if not isinstance(value, Undefined)]
    undefined = len(values) - len(numbers)
    if not numbers:
        return Summary(None, None, None, 0, undefined)
    mean = math.fsum(numbers) / len(numbers)
    if len(numbers) == 1:
        return Summary(mean, None, None, 1, undefined)
    if min(numbers) == max(numbers):
        return Summary(numbers[0], numbers[0], numbers[0], len(numbers), undefined)
    interval = stats.bootstrap(
        (np.array(numbers),), np.mean, n_resamples=resamples, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return Summary(mean, float(interval.low), float(interval.high), len(numbers), undefined)


def _pair(teacher: Scores, student: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.asarray(teacher, dtype=np.float64), np.asarray(student, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise AttributionError(
            f"Maps of shapes {a.shape} and {b.shape} cannot be compared; wanted scores of the same tokens."
        )
    return a, b


def _unusable(a: NDArray[np.float64], b: NDArray[np.float64]) -> str:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "a score is not finite"
    return "there is only one score to compare" if len(a) == 1 else ""


def _tied(scores: NDArray[np.float64], k: int) -> bool:
    largest = np.sort(scores)[::-1]
    return bool(largest[k - 1] == largest[k])


def _zero(a: NDArray[np.float64], b: NDArray[np.float64]) -> str:
    return _either(a, b, lambda scores: not scores.any(), "map is zero everywhere")


def _constant(a: NDArray[np.float64], b: NDArray[np.float64], what: str = "scores") -> str:
    return _either(a, b, lambda scores: bool(scores.min() == scores.max()), f"{what} are all equal")


def _either(
    a: NDArray[np.float64], b: NDArray[np.float64], test: Callable[[NDArray[np.float64]], bool], what: str
) -> str:
    for name, scores in (("teacher", a), ("student", b)):
        if test(scores):
            return f"the {name}'s {what}"
    return ""


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a / np.abs(a).max(), b / np.abs(b).max()  # no under- or overflow in the squares
    return _bounded(math.fsum(a * b) / math.sqrt(math.fsum(a * a) * math.fsum(b * b)))


def _loyalty(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return 1 − √JSD₂ of two nonnegative vectors, each scaled to sum 1."""
    p, q = a / math.fsum(a), b / math.fsum(b)
    middle = (p + q) / 2
    divergence = (math.fsum(rel_entr(p, middle)) + math.fsum(rel_entr(q, middle))) / (2 * math.log(2))
    if divergence < NO_DIVERGENCE:
        return 1.0
    return 1.0 - math.sqrt(min(1.0, divergence))


def _bounded(value: float) -> float:
    """Return a correlation, or exactly ±1 if it differs from that only by rounding."""
    return math.copysign(1.0, value) if 1.0 - abs(value) < EXACT else value
