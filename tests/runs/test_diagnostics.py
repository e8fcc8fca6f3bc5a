"""The alarms: each rings for the run it is meant for, and for no other."""

import math

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.runs.diagnostics import NEAR_CHANCE, Series, alarms, collapsed, exploded, idle_terms, weak_teacher
from distill_core.training import session

STS = RunConfig(task="stsb", steps=60)


def run_series(metric: str, last: float, teacher: float = 0.9, constant: float = 0.5, cosine: float = 0.96) -> Series:
    return {
        f"constant/{metric}": [(0, constant)],
        f"teacher/{metric}": [(0, teacher)],
        f"validation/{metric}": [(0, constant), (20, last)],
        "agreement/cosine": [(0, 0.9), (20, cosine)],
    }


def test_a_term_that_does_nothing_is_named() -> None:
    config = RunConfig(method="gkd_cls", alpha=1.0, method_delay=20, method_ramp=10)
    looks = [1, 11, 21, 31, 41, 51, 61, 71]
    series = {
        "share/ce": [(step, 0.0) for step in looks],  # weighs nothing, as it was set
        "share/kd": [(step, 0.004) for step in looks],
        "share/gkd": [(step, 0.0 if step < 31 else 0.5) for step in looks],
        "share/gkd_cls": [(step, 0.009) for step in looks[:-1]] + [(71, 0.01)],
        "share/pkd": [(step, 0.009) for step in looks],
    }
    assert idle_terms(config, series) == ["kd", "pkd"]
    assert idle_terms(config, {name: points[:-1] for name, points in series.items()}) == ["kd"]  # not yet
    said = alarms(config, series)
    assert [words.split(":")[0] for words in said] == ["Teacher’s answers (KD)", "[CLS] states (PKD)"]


@pytest.mark.parametrize(
    ("last", "cosine", "steps", "rings"),
    [
        (0.52, 0.96, 60, True),
        (0.54, 0.96, 60, False),  # better than a constant prediction
        (0.52, 0.89, 60, False),  # its maps did not come nearer
        (0.52, 0.96, 61, False),  # too early to tell
        (math.nan, 0.96, 60, True),
    ],
)
def test_a_student_that_guesses_is_noticed(last: float, cosine: float, steps: int, rings: bool) -> None:
    config = RunConfig(steps=steps)
    series = run_series("accuracy", last, cosine=cosine)
    assert collapsed(config, series) is rings
    assert any("such agreement says little" in words for words in alarms(config, series)) is rings


def test_plain_kd_has_no_method_weight_to_make_smaller() -> None:
    series = run_series("accuracy", 0.51)
    for method, smaller in (("kd", False), ("pkd", True), ("gkd", True)):
        said = " ".join(alarms(RunConfig(method=method, steps=60), series))
        assert "such agreement says little" in said
        assert ("smaller method weight" in said) is smaller


def test_after_a_short_run_more_steps_are_the_first_advice() -> None:
    series = run_series("accuracy", 0.51)
    (short,) = alarms(RunConfig(steps=20), series)
    assert "only 20 steps: try more steps first, then a smaller method weight or a higher learning rate." in short
    late = {name: [(10 * step, value) for step, value in points] for name, points in series.items()}
    (long,) = alarms(RunConfig(steps=200), late)
    assert "Try a smaller method weight, a higher learning rate or more steps." in long


def test_scores_that_are_all_equal_are_a_collapse() -> None:
    series = run_series("pearson", math.nan, constant=0.0)
    assert collapsed(STS, series)
    (words,) = alarms(STS, series)
    assert "gives scores without correlation" in words
    assert "smaller method weight" in words
    assert not alarms(STS, run_series("pearson", 0.7, constant=0.0))


def test_a_teacher_near_chance_is_named_with_both_numbers() -> None:
    config = RunConfig(steps=60)
    series = run_series("accuracy", 0.8, teacher=0.519)
    assert weak_teacher(config, series) == (0.519, 0.5)
    (words,) = alarms(config, series)
    assert "accuracy is 0.519; majority-class baseline: 0.500" in words
    assert weak_teacher(config, run_series("accuracy", 0.8, teacher=0.53)) is None
    assert weak_teacher(config, {"teacher/accuracy": [(0, 0.5)]}) is None  # an earlier run: not measured
    assert "is not defined; no correlation: 0.000" in alarms(STS, run_series("pearson", 0.5, math.nan, 0.0))[0]


def test_a_collapse_under_a_weak_teacher_names_the_teacher() -> None:
    first, second = alarms(RunConfig(steps=60), run_series("accuracy", 0.5, teacher=0.51))
    assert "next to nothing to learn" in first
    assert "The likely cause is the teacher" in second
    assert "method weight" not in second


def test_the_bound_is_the_one_that_stops_a_run() -> None:
    assert NEAR_CHANCE == session.NEAR_CHANCE


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ([0.7] * 5 + [30.0, 70.0, 7.7, 7.1, 9.0, 7.3, 7.2], 7.3 / 0.7),
        ([0.7] * 5 + [7.1] * 5, 7.1 / 0.7),
        ([0.7] * 5 + [7.1] * 4, None),  # too early to tell
        ([0.7] * 5 + [6.9] * 5, None),
        ([0.01] * 5 + [1.4] * 5, None),  # worse than it was, no worse than a guess
        ([0.7] * 5 + [0.6, 90.0, 0.6, 90.0, 0.6], None),  # two bad batches
        ([0.0] * 5 + [9.0] * 5, None),  # no beginning to compare with
    ],
)
def test_a_loss_that_explodes_is_named(values: list[float], times: float | None) -> None:
    series = {"ce": list(enumerate(values, 1))}
    found = exploded(series)
    assert (found is None) == (times is None)
    said = [words for words in alarms(RunConfig(), series) if "the training diverges" in words]
    assert len(said) == (found is not None)
    if found is not None:
        assert found == pytest.approx(times)
        assert said[0].startswith("The loss on the labels is 10 times as large as at the beginning")
