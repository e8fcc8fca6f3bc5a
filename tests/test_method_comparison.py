"""Methods compared: the plan, what is taken from earlier runs, the numbers, and the command."""

import json
import math
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import ttest_rel
from typer.testing import CliRunner

from benchmarks.comparison_table import tables
from distill_core import method_comparison
from distill_core.cli import app, foreground
from distill_core.cli.compare import _weights
from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError
from distill_core.method_comparison import MeasuredRun, _measured, finished, plan, summarise_methods, unfinished
from distill_core.models.bundle import open_model
from distill_core.models.encoder import save_model
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs import scheduler
from distill_core.runs.events import DataUsed
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, pinned, stop
from distill_core.runs.store import Store
from distill_core.training.session import run_data
from distill_core.training.state import TrainingState
from distill_core.versions import versions
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.tiny import tiny_folder, tiny_network, tiny_tokenizer


def test_the_plan_is_seed_by_seed_with_plain_kd_first() -> None:
    configs = plan(RunConfig(seed=5, steps=7), ["ad_kd", "kd", "ad_kd", "pkd"], 2)
    assert [(config.method, config.seed) for config in configs] == [
        ("kd", 5), ("ad_kd", 5), ("pkd", 5), ("kd", 6), ("ad_kd", 6), ("pkd", 6),
    ]  # fmt: skip
    assert {config.steps for config in configs} == {7}
    for methods, seeds, words in ((["magic"], 1, "method 'magic'"), ([], 1, "0 methods"), (["kd"], 0, "0 seeds")):
        with pytest.raises(ConfigError, match=f"cannot have {words}|cannot have .*{words}"):
            plan(RunConfig(), methods, seeds)


def test_a_method_can_have_a_weight_of_its_own() -> None:
    configs = plan(RunConfig(method_weight=2.0), ["kd", "ad_kd", "gkd"], 1, {"gkd": 0.1})
    assert [config.method_weight for config in configs] == [2.0, 2.0, 0.1]
    for weights in ({"pkd": 1.0}, {"kd": 1.0}, {"gkd": 1.0}):  # pkd has a weight of another name
        with pytest.raises(ConfigError, match=f"for '{next(iter(weights))}', which is not compared or has no"):
            plan(RunConfig(), ["kd", "pkd"], 1, weights)
    assert _weights("gkd=0.1, ad_kd = 2") == {"gkd": 0.1, "ad_kd": 2.0}
    with pytest.raises(ConfigError, match="'gkd' is not the weight of a method"):
        _weights("gkd")


def outcome(method: str, seed: int, value: float) -> MeasuredRun:
    return MeasuredRun(method, seed, f"{method}-{seed}", {"accuracy": value})


def test_differences_are_paired_by_seed_with_a_t_interval() -> None:
    kd, other = [0.80, 0.84, 0.79], [0.83, 0.85, 0.84]
    outcomes = [outcome("kd", at, value) for at, value in enumerate(kd)]
    outcomes += [outcome("gkd", at, value) for at, value in enumerate(other)]
    base, row = summarise_methods(outcomes)
    assert (base.method, row.method) == ("kd", "gkd")
    assert base.differences == {}
    assert row.numbers["accuracy"].mean == pytest.approx(0.84)
    assert row.numbers["accuracy"].deviation == pytest.approx(0.01)
    found = row.differences["accuracy"]
    wanted = ttest_rel(other, kd).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((0.03, wanted.low, wanted.high))


def test_what_is_not_defined_stays_undefined() -> None:
    outcomes = [outcome(method, seed, math.nan) for method in ("kd", "gkd") for seed in (0, 1)]
    for row in summarise_methods(outcomes):
        assert math.isnan(row.numbers["accuracy"].mean)
        assert all(math.isnan(found.mean) for found in row.differences.values())


def test_one_seed_has_no_interval_and_other_seeds_no_difference() -> None:
    _, row = summarise_methods([outcome("kd", 0, 0.8), outcome("gkd", 0, 0.9)])
    assert row.differences["accuracy"].mean == pytest.approx(0.1)
    assert math.isnan(row.differences["accuracy"].low)
    assert math.isnan(row.numbers["accuracy"].deviation)
    _, row = summarise_methods([outcome("kd", 0, 0.8), outcome("gkd", 1, 0.9)])
    assert row.differences == {}


def test_data_that_changed_makes_another_run(tmp_path: Path, store: Store) -> None:
    folder = other_data(tmp_path)
    config = RunConfig(source=str(folder), device="cpu", steps=2, batch_size=2)
    run_id = enqueue(store, config)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    used = [DataUsed(data.split, data.source, len(data.examples), data.fingerprint) for data in run_data(config)]
    store.write(run_id, FAKE_TOKEN, [], None, used)
    student = run_folder(run_id) / "student"
    record = {"task": "sst2", "fingerprints": {"teacher": "t"}, "versions": versions()}
    save_model(tiny_network(), tiny_tokenizer(), student, record)
    store.set_model(run_id, FAKE_TOKEN, student)
    store.end(run_id, FAKE_TOKEN, "finished")
    assert finished(store, config, {"teacher": "t"}) is not None
    with (folder / "SST-2" / "train.tsv").open("a") as file:
        file.write("one more\t1\n")
    assert finished(store, config, {"teacher": "t"}) is None


def test_what_is_not_this_very_run_is_not_taken_for_it(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pinned(RunConfig(source=str(other_data(tmp_path)), device="auto", steps=2, batch_size=2))
    run_id = enqueue(store, config)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    student = run_folder(run_id) / "student"
    record = {"task": "sst2", "fingerprints": {"teacher": "t"}, "versions": versions()}
    save_model(tiny_network(), tiny_tokenizer(), student, record)
    store.set_model(run_id, FAKE_TOKEN, student)
    store.end(run_id, FAKE_TOKEN, "finished")
    monkeypatch.setattr(method_comparison, "devices_for", lambda _: ("cpu",))
    assert finished(store, config, {"teacher": "t"}) is not None
    monkeypatch.setattr(method_comparison, "devices_for", lambda _: ("cuda:0",))
    assert finished(store, config, {"teacher": "t"}) is None
    monkeypatch.setattr(method_comparison, "devices_for", lambda _: ("cpu",))
    save_model(tiny_network(), tiny_tokenizer(), student, record | {"versions": {"torch": "0.1"}})
    assert finished(store, config, {"teacher": "t"}) is None
    save_model(tiny_network(), tiny_tokenizer(), student, record)
    with (student / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    assert finished(store, config, {"teacher": "t"}) is None
    (student / "distill.json").write_text('{"task": ')
    assert finished(store, config, {"teacher": "t"}) is None


@pytest.mark.parametrize(("step", "wanted"), [(2, 0.9), (4, 0.7), ("2", 0.7), ([2], 0.7), (math.inf, 0.7), (None, 0.7)])
def test_a_runs_numbers_are_those_of_the_student_it_kept(store: Store, step: object, wanted: float) -> None:
    run_id = enqueue(store, RunConfig(device="cpu", keep="best"))
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    points = [(at, "validation/accuracy", value) for at, value in ((0, 0.5), (2, 0.9), (4, 0.7))]
    store.write(run_id, FAKE_TOKEN, [*points, (4, "loss", 1.0)], None)
    save_model(tiny_network(), tiny_tokenizer(), run_folder(run_id) / "student", {"task": "sst2", "step": step})
    store.set_model(run_id, FAKE_TOKEN, run_folder(run_id) / "student")
    store.end(run_id, FAKE_TOKEN, "finished")
    assert _measured(store, store.get(run_id))["validation/accuracy"] == wanted


def test_a_run_begun_with_another_teacher_or_from_a_damaged_checkpoint_does_not_go_on(
    tmp_path: Path, store: Store
) -> None:
    config = pinned(RunConfig(source=str(other_data(tmp_path)), device="cpu", steps=2, batch_size=2))
    run_id = enqueue(store, config)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    student = run_folder(run_id) / "student"
    record = {"task": "sst2", "step": 1, "fingerprints": {"teacher": "t"}, "versions": versions()}
    save_model(tiny_network(), tiny_tokenizer(), student, record, TrainingState(1, {}, {}).write)
    assert unfinished(store, config, {"teacher": "another"}) is not None  # it works: its worker will see
    store.set_model(run_id, FAKE_TOKEN, student)
    store.end(run_id, FAKE_TOKEN, "paused")
    assert unfinished(store, config, {"teacher": "t"}) is not None
    assert unfinished(store, config, {"teacher": "another"}) is None
    (student / STATE_FILE).write_bytes(b"none")
    assert unfinished(store, config, {"teacher": "t"}) is None


def test_an_interruption_that_comes_too_late_for_a_run_ends_the_comparison(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_in_foreground = foreground.run_in_foreground

    def pressed(*given: Any) -> Run:
        run = run_in_foreground(*given)
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return run

    monkeypatch.setattr(foreground, "run_in_foreground", pressed)
    command = (
        f"compare --methods kd --seeds 2 --examples 2 --teacher {tiny_folder(tmp_path / 'teacher', layers=3)} --steps 2"
        f" --batch-size 2 --source {other_data(tmp_path)} --device cpu --max-length 32 --weak-teacher go_on"
        " --student-layers 2"
    ).split()
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 130
    assert "Repeat the command to continue" in done.stderr
    assert [run.state for run in store.runs()] == ["finished"]


def other_data(tmp_path: Path) -> Path:
    (tmp_path / "glue" / "SST-2").mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "glue" / "SST-2" / name).write_text("sentence\tlabel\na good film\t1\na bad film\t0\n")
    return tmp_path / "glue"


def test_methods_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path: Path, store: Store) -> None:
    teacher = tiny_folder(tmp_path / "teacher", layers=3)
    done = CliRunner().invoke(
        app, ["compare", "--methods", "kd,pkd", "--teacher", str(teacher), "--student-layers", "1", "--seeds", "1"]
    )
    assert "has none that PKD-skip can match" in str(done.exception)
    assert store.runs() == []


@pytest.fixture
def trained_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no worker: the command then trains its runs itself, which spares the import of torch for each."""
    monkeypatch.setattr(scheduler, "reconcile", lambda *_: [])


@pytest.mark.usefixtures("trained_here")
def test_a_relative_teacher_and_named_data_are_known_again_and_an_interrupted_run_goes_on(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_folder(tmp_path / "teacher", layers=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUE_DIR", str(other_data(tmp_path)))
    command = (
        "compare --methods kd --seeds 1 --examples 2 --teacher ./teacher --student-layers 2 --steps 6 --batch-size 2"
        " --evaluate-every 2 --device cpu --max-length 32 --weak-teacher go_on --json"
    ).split()
    told = []
    for _ in range(2):
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        told.append(json.loads(done.stdout))
    assert told[0] == told[1]
    assert len(store.runs()) == 1
    (run,) = store.runs()
    first = enqueue(store, replace(run.config, steps=7))  # one that was paused while it waited
    stop(store, first, "pause")
    command[command.index("6")] = "7"
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(done.stdout)["runs"][0]["run_id"] == first
    assert "continues from step 0" in done.stderr
    assert len(store.runs()) == 2


@pytest.mark.usefixtures("few_examples", "trained_here")
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
    probed = {"unsigned_cosine", "unsigned_spearman", "signed_cosine"}
    for run in told["runs"]:  # what the run itself measured last
        assert run["numbers"]["unsigned_spearman"] == store.latest(run["run_id"])["agreement/spearman"]
    for row in told["rows"]:
        assert numbers | probed | {"step_seconds", "memory_mb"} == row["numbers"].keys()
        assert row["numbers"]["cosine"]["seeds"] == 2
        assert 0 < row["numbers"]["saliency_loyalty"]["mean"] <= 1
    assert told["rows"][1]["differences"].keys() == told["rows"][1]["numbers"].keys()
    runs = store.runs()
    assert len(runs) == 4
    prints = {"teacher": open_model(str(teacher)).fingerprint}
    assert all(finished(store, run.config, prints) is not None for run in runs)
    assert finished(store, runs[0].config, {"teacher": "another"}) is None
    assert finished(store, replace(runs[0].config, steps=4), prints) is None
    look = replace(runs[0].config, source=str(other_data(tmp_path)))
    assert finished(store, look, prints) is None
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(again.stdout) == told  # nothing was run or computed again
    assert len(store.runs()) == 4
    assert runs[0].model_path is not None
    shutil.rmtree(runs[0].model_path)
    assert finished(store, runs[0].config, prints) is None
    table = CliRunner().invoke(app, command[:-1], catch_exceptions=False)
    assert "minus kd [95 %]" in table.stdout
    assert table.stdout.count("IG cosine, signed") == 2  # a row a method, in one table
    assert "without dropout: gkd; with dropout: the others" in table.stderr
    assert "fewer than 3 seeds" in table.stderr


def test_documents_of_one_task_are_put_together_and_others_refused() -> None:
    runs = [
        {"method": method, "seed": seed, "run_id": f"{method}{seed}", "numbers": {"accuracy": value, "cosine": None}}
        for method, seed, value in (("kd", 0, 0.5), ("gkd", 0, 0.6), ("kd", 1, 0.6), ("gkd", 1, 0.8))
    ]
    whole = {"config": {"task": "sst2", "steps": 9, "batch_size": 4, "seed": 0}, "examples": 5, "runs": runs}
    config = whole["config"] | {"seed": 1}
    parts = [whole | {"runs": runs[:3]}, whole | {"runs": runs[3:], "config": config}]
    assert tables(parts) == tables([whole])
    assert "| GKD | 0.700 ± 0.141 | – |" in tables([whole])
    assert "| GKD | +0.150 [-0.485, +0.785] | – |" in tables([whole])
    with pytest.raises(ValueError, match="different settings"):
        tables([whole, whole | {"config": config | {"steps": 8}}])
    with pytest.raises(ValueError, match="twice"):
        tables([whole, whole])
    with pytest.raises(ValueError, match="two weights"):
        tables([part | {"weights": {"gkd": weight}} for part, weight in zip(parts, (1.0, 2.0), strict=True)])
