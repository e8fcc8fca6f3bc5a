"""The verdict compares the first evaluation with that of the student a run kept."""

import pytest

from distill_core.data.tasks import get_task
from distill_core.runs.events import DataUsed
from distill_core.runs.verdict import judge

TASK = get_task("sst2")
SERIES = {
    "validation/accuracy": [(0, 0.5), (20, 0.9), (40, 0.8)],
    "agreement/signed_cosine": [(0, 0.1), (20, 0.4), (40, 0.2)],
    "agreement/label_loyalty": [(0, 0.5), (20, 0.75), (40, 0.7)],
}


def test_a_verdict_is_of_the_kept_student() -> None:
    last, best = judge(TASK, SERIES), judge(TASK, SERIES, until=20)
    assert last is not None
    assert best is not None
    assert (last.score, best.score) == ((0.5, 0.8), (0.5, 0.9))
    assert best.gap == pytest.approx((0.9, 0.6))
    assert best.label_loyalty == (0.5, 0.75)
    assert judge(TASK, SERIES, until=10) is None


def test_a_few_examples_are_too_few() -> None:
    few, many = (judge(TASK, SERIES, [DataUsed("validation", "Films", count, "a")]) for count in (29, 872))
    assert few is not None
    assert many is not None
    assert (few.examples, few.probe_examples, few.too_few_examples) == (29, 29, True)
    assert (many.examples, many.probe_examples, many.too_few_examples) == (872, 64, False)


def test_a_student_near_the_baseline_is_compared_with_it() -> None:
    near, above = (judge(TASK, SERIES | {"constant/accuracy": [(0, value)]}) for value in (0.79, 0.5))
    assert near is not None
    assert above is not None
    assert (near.baseline, above.baseline) == (0.79, None)
