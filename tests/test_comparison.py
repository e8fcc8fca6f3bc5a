"""Methods compared: the plan, what is taken from earlier runs, the numbers, and the command."""

import json
import math
from pathlib import Path

import pytest
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.comparison import Outcome, finished, plan, summarise
from distill_core.config import RunConfig
from distill_core.errors import ConfigError
from distill_core.store import Store
from tests.tiny import tiny_folder


def test_the_plan_is_seed_by_seed_with_plain_kd_first() -> None:
    configs = plan(RunConfig(seed=5, steps=7), ["ad_kd", "kd", "ad_kd", "pkd"], 2)
    assert [(config.method, config.seed) for config in configs] == [
        ("kd", 5), ("ad_kd", 5), ("pkd", 5), ("kd", 6), ("ad_kd", 6), ("pkd", 6),
    ]  # fmt: skip
    assert {config.steps for config in configs} == {7}
    for methods, seeds, words in ((["magic"], 1, "method 'magic'"), ([], 1, "0 methods"), (["kd"], 0, "0 seeds")):
        with pytest.raises(ConfigError, match=f"cannot have {words}|cannot have .*{words}"):
            plan(RunConfig(), methods, seeds)


def outcome(method: str, seed: int, value: float) -> Outcome:
    return Outcome(method, seed, f"{method}-{seed}", {"accuracy": value})


def test_differences_are_paired_by_seed_with_a_t_interval() -> None:
    kd, other = [0.80, 0.84, 0.79], [0.83, 0.85, 0.84]
    outcomes = [outcome("kd", at, value) for at, value in enumerate(kd)]
    outcomes += [outcome("gkd", at, value) for at, value in enumerate(other)]
    base, row = summarise(outcomes)
    assert (base.method, row.method) == ("kd", "gkd")
    assert base.differences == {}
    assert row.numbers["accuracy"].mean == pytest.approx(0.84)
    assert row.numbers["accuracy"].deviation == pytest.approx(0.01)
    found = row.differences["accuracy"]
    wanted = ttest_rel(other, kd).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((0.03, wanted.low, wanted.high))


def test_one_seed_has_no_interval_and_other_seeds_no_difference() -> None:
    _, row = summarise([outcome("kd", 0, 0.8), outcome("gkd", 0, 0.9)])
    assert row.differences["accuracy"].mean == pytest.approx(0.1)
    assert math.isnan(row.differences["accuracy"].low)
    assert math.isnan(row.numbers["accuracy"].deviation)
    _, row = summarise([outcome("kd", 0, 0.8), outcome("gkd", 1, 0.9)])
    assert row.differences == {}


def test_the_command_runs_measures_and_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    teacher = tiny_folder(tmp_path / "teacher", layers=3)
    settings = {
        "teacher": str(teacher), "student-layers": 2, "source": "bundled", "steps": 3, "batch-size": 4,
        "evaluate-every": 3, "device": "cpu", "max-length": 32, "weak-teacher": "go_on", "seed": 4,
    }  # fmt: skip
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = ["compare", "--methods", "gkd,kd", "--seeds", "2", "--examples", "4", *options, "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [(run["method"], run["seed"]) for run in told["runs"]] == [("kd", 4), ("gkd", 4), ("kd", 5), ("gkd", 5)]
    numbers = {"accuracy", "cosine", "spearman", "saliency_loyalty", "label_loyalty", "probability_loyalty"}
    for row in told["rows"]:
        assert numbers | {"step_seconds", "memory_mb"} == row["numbers"].keys()
        assert row["numbers"]["cosine"]["seeds"] == 2
        assert 0 < row["numbers"]["saliency_loyalty"]["mean"] <= 1
    assert told["rows"][1]["differences"].keys() == told["rows"][1]["numbers"].keys()
    runs = store.runs()
    assert len(runs) == 4
    assert all(finished(store, run.config) is not None for run in runs)
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(again.stdout) == told  # nothing was run or computed again
    assert len(store.runs()) == 4
    table = CliRunner().invoke(app, command[:-1], catch_exceptions=False).output
    assert "minus kd" in table
