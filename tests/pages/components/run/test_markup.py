"""What is said of a run: spans of time, missing numbers, and whether a change can be told."""

from collections.abc import Sequence

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.data.tasks import get_task
from distill_core.runs.diagnostics import Series
from distill_core.runs.duration_estimate import DurationEstimate
from distill_core.runs.events import DataUsed
from distill_core.runs.store import Store
from distill_core.runs.verdict import judge
from distill_core.training import trainer
from pages.components.formatting import format_approximate_duration, format_duration, format_duration_range
from pages.components.run import markup
from tests.support.stored_runs import active_run


def verdict(task: str, series: Series, used: Sequence[DataUsed] = ()) -> str:
    judged = judge(get_task(task), series, used)
    assert judged is not None
    return markup.verdict_text(get_task(task).metric, judged)


@pytest.mark.parametrize(
    ("seconds", "about", "exactly"),
    [
        (4, "a few seconds", "4 s"),
        (89, "about 90 s", "1 min 29 s"),
        (150, "about 2 min", "2 min 30 s"),
        (3600, "about 1 h", "1 h 0 min"),
        (4900, "about 1 h 20 min", "1 h 21 min"),
    ],
)
def test_spans_are_said_as_people_say_them(seconds: float, about: str, exactly: str) -> None:
    assert (format_approximate_duration(seconds), format_duration(seconds)) == (about, exactly)


def test_numbers_that_are_missing_are_dashes() -> None:
    nan = float("nan")
    series = {"validation/accuracy": [(0, 0.5), (20, nan)], "loss": [(1, nan)]}
    assert "nan" not in markup.agreement_table(get_task("sst2"), 0.5, series, ended=True)
    assert "nan" not in markup.loss_table(RunConfig(), series)
    assert judge(get_task("sst2"), series) is None


def test_what_changed_on_few_examples_is_said_to_be_little() -> None:
    series = {"validation/f1": [(0, 0.5), (20, 0.9)], "agreement/signed_cosine": [(0, 0.1), (20, 0.2)]}
    few, many = ([DataUsed("train", "Films", 500, "a"), DataUsed("validation", "Films", n, "b")] for n in (29, 30))
    assert "F1 went from 0.50 to 0.90 on 29 examples, too few to be sure." in verdict("mrpc", series, few)
    assert "F1 went from 0.50 to 0.90 on 30 examples." in verdict("mrpc", series, many)
    assert "F1 went from 0.50 to 0.90." in verdict("mrpc", series)


@pytest.mark.parametrize(
    ("constant", "said"),
    [
        (0.9, "no better than the majority-class baseline (0.90)"),
        (0.88, "hardly better than the majority-class baseline (0.88)"),
        (0.8, ""),
    ],
)
def test_a_student_that_guesses_is_said_to(constant: float, said: str) -> None:
    series = {"validation/accuracy": [(0, 0.5), (20, 0.9)], "agreement/signed_cosine": [(0, 0.1), (20, 0.2)]}
    words = verdict("sst2", {**series, "constant/accuracy": [(0, constant)]})
    assert ("majority-class baseline" in words) == bool(said)
    assert said in words


@pytest.mark.parametrize(("there", "probes"), [(872, 64), (40, 40)])
def test_the_probe_sentences_are_said_to_be_validation_examples(there: int, probes: int) -> None:
    series = {
        "validation/accuracy": [(0, 0.5), (20, 0.9)],
        "agreement/signed_cosine": [(0, 0.1), (20, 0.2)],
        "agreement/label_loyalty": [(0, 0.5), (20, 0.75)],
    }
    words = verdict("sst2", series, [DataUsed("validation", "Films", there, "b")])
    assert f"on 75 % of the probe sentences, {probes} of the validation examples (before: 50 %)." in words
    assert "every ten steps" in markup.SHARE_NOTE
    assert trainer.SHARES_EVERY == 10


def test_a_regression_has_no_row_for_the_same_answer() -> None:
    words = "Same prediction as the teacher"
    assert words in markup.agreement_table(get_task("sst2"), None, {}, ended=False)
    assert words not in markup.agreement_table(get_task("stsb"), None, {}, ended=False)


def test_a_share_too_small_to_matter_is_said_to_be() -> None:
    config = RunConfig(method="gkd_cls")
    series = {"share/ce": [(1, 0.0)], "share/kd": [(1, 0.004)], "share/gkd": [(1, 0.5)], "share/pkd": [(1, 0.009)]}
    table = markup.loss_table(config, series)
    assert '<td class="dl-quiet">50 %</td>' in table
    assert table.count("&lt; 1 %") == 3


@pytest.mark.parametrize(
    ("estimated", "words"),
    [
        (DurationEstimate(None), "No run of AD-KD on CPU has been measured yet."),
        (
            DurationEstimate(9.0, 145.2),
            "Estimated for two CPU cores (145 examples per second), until a run of AD-KD on this task has been "
            "measured.",
        ),
        (DurationEstimate(9.0, 8.1, 1), "Based on the last run of AD-KD on CPU: 8 examples per second."),
        (
            DurationEstimate(9.0, 36.0, 2, same_batch_size=False),
            "Based on the last 2 runs of AD-KD on CPU, with other batch sizes: 36 examples per second.",
        ),
    ],
)
def test_an_estimate_says_what_it_is_based_on(estimated: DurationEstimate, words: str) -> None:
    assert markup.estimate_basis(estimated, RunConfig(), "cpu") == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (2, 7, "a few seconds"),
        (12, 38, "10–40 s"),
        (3, 38, "under 40 s"),
        (31, 34, "30 s"),
        (180, 299, "3–5 min"),
        (20, 95, "under 2 min"),
        (5000, 7200, "1.4–2 h"),
    ],
)
def test_the_time_left_is_said_from_which_to_which(low: float, high: float, words: str) -> None:
    assert format_duration_range(low, high) == words


def test_what_a_run_takes_of_the_machine_is_said_as_far_as_it_is_known(store: Store) -> None:
    run, _ = active_run(store)

    def said(**last: float) -> dict[str, str]:
        series = {name: [(1, value)] for name, value in last.items()}
        return {fact.label: fact.value for fact in markup.run_facts(run, series, 0.0)}

    known = said(
        cpu_percent=84.6, memory_mb=1234, memory_free_mb=5600, gpu_percent=73, gpu_memory_mb=4100,
        seconds_left=240, seconds_left_low=180, seconds_left_high=300,
    )  # fmt: skip
    assert known | {
        "CPU, all cores": "85 %", "GPU": "73 % · 4.1 GB", "Memory": "1.2 GB", "Free memory": "5.6 GB",
        "Time left": "3–5 min",
    } == known  # fmt: skip
    assert said(gpu_memory_mb=4100)["GPU"] == "4.1 GB"
    earlier = said(memory_mb=900, seconds_left=240)  # a run of a version that measured less
    assert earlier.keys().isdisjoint({"CPU, all cores", "GPU", "Free memory"})
    assert (earlier["Memory"], earlier["Time left"]) == ("900.0 MB", "4 min")
