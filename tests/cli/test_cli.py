"""The command line as a script meets it: JSON on standard output, exit code 2 with the valid names on bad input."""

import json
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from distill_core.catalog.catalog import bundled_models
from distill_core.cli import main, output
from tests.support.command_line import call, call_json, call_process
from tests.support.tiny import tiny_folder
from tests.support.tiny_architectures import sentiment_folder

shared = pytest.mark.usefixtures("shared_bundle")


@shared
def test_explain_prints_the_promised_document() -> None:
    told = call_json(
        "explain", "--text", "Not bad at all, <b>never</b> dull.", "--teacher", "bundled/sst2-teacher",
        "--student", "bundled/sst2-kd", "--student", "bundled/sst2-teacher", "--target", "all",
    )  # fmt: skip
    assert {"task", "text", "text_pair", "tokens", "models", "consistency"} <= told.keys()
    assert told["text"] == "Not bad at all, <b>never</b> dull."
    teacher, student, _ = told["models"]
    assert teacher["id"] == "bundled/sst2-teacher"
    assert sum(teacher["probabilities"]) == pytest.approx(1.0)
    assert [one["target"] for one in student["attributions"]] == ["negative", "positive"]
    for one in teacher["attributions"]:
        assert len(one["scores"]) == len(told["tokens"])
        assert one["relative_gap"] <= 0.01 or not one["converged"]
    metrics = set(
        "cosine spearman kendall top_k_overlap sign_agreement saliency_loyalty "
        "label_loyalty probability_loyalty".split()
    )
    for row in told["consistency"]:
        assert metrics <= row.keys()
        if row["student"] == "bundled/sst2-teacher":
            assert [row[name] for name in sorted(metrics)] == [1.0] * len(metrics)


@shared
def test_a_method_that_samples_takes_a_seed() -> None:
    told = call_json(
        "explain", "--text", "a slow but good film", "--student", "bundled/sst2-kd", "--method", "shap", "--seed", "7",
    )  # fmt: skip
    assert (told["method"], told["units"], told["seed"]) == ("shap", "words", 7)
    for model in told["models"]:
        (one,) = model["attributions"]
        assert one["converged"]
        assert one["relative_gap"] <= 1e-9


@shared
def test_explain_prints_the_score_of_a_regression() -> None:
    done = call(
        "explain", "--task", "stsb", "--text", "A man sings.", "--text-pair", "A man is singing.",
        "--student", "bundled/stsb-teacher", "--method", "gradient", "--units", "words",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^bundled/stsb-teacher: \d\.\d\d$", done.stdout, re.MULTILINE)
    assert "singing." in done.stdout
    assert "Agreement of bundled/stsb-teacher on similarity" in done.stdout  # beside its table, also in a file


def test_models_that_cut_differently_are_explained_by_words(tmp_path: Path) -> None:
    folders = [str(sentiment_folder(tmp_path / name, name)) for name in ("bert", "roberta")]
    asked = ["explain", "--text", "the actings was good", "--teacher", folders[0], "--student", folders[1]]
    refused = call(*asked)
    assert refused.returncode == 2
    assert "compare them by words (units: words)" in " ".join(refused.stderr.split())
    told = call_json(*asked, "--units", "words", "--target", "all")
    assert (told["units"], told["tokens"]) == ("words", ["the", "actings", "was", "good"])
    assert [row["target"] for row in told["consistency"]] == ["negative", "positive"]
    (mean,) = told["mean_consistency"]
    assert mean["cosine"] == pytest.approx(sum(row["cosine"] for row in told["consistency"]) / 2)


@shared
def test_undefined_is_null_not_a_number() -> None:
    told = call_json("explain", "--text", "great", "--student", "bundled/sst2-kd", "--method", "gradient")
    (row,) = told["consistency"]
    assert row["spearman"] is None
    assert row["label_loyalty"] in (0.0, 1.0)


@shared
def test_evaluate_counts_and_names_its_source() -> None:
    told = call_json("evaluate", "--model", "bundled/sst2-kd", "--source", "bundled")
    assert (told["task"], told["model"]) == ("sst2", "bundled/sst2-kd")
    assert told["n"] >= 120
    assert 0.6 < told["metrics"]["accuracy"] <= 1.0
    assert "bundled" in told["source"]


def test_what_is_not_a_number_is_null_and_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"metrics": {"pearson": float("nan")}, "rows": [(1.0, float("inf"))]})
    assert json.loads(capsys.readouterr().out) == {"metrics": {"pearson": None}, "rows": [[1.0, None]]}
    assert output._cell(float("nan")) == "–"


def test_a_table_leaves_out_what_a_terminal_has_no_room_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "output_console", output._Console(markup=False, highlight=False, width=60))
    reason = "it was stopped because of what somebody wanted"
    rows: list[dict[str, Any]] = [
        {"run": "20261122-070425-9xhd", "state": "stopped", "metric": 0.5, "reason": reason, "tags": "a"}
    ]
    output.print_rows(rows)
    shown, said = capsys.readouterr()
    assert "│ 20261122-070425-9xhd │ stopped │ 0.5000 │" in shown
    assert "Not shown for lack of space: reason, tags" in " ".join(said.split())
    output.print_rows([{name: rows[0][name] for name in ("run", "reason")}])
    shown, said = capsys.readouterr()
    assert "it was stopped because" in shown
    assert max(map(len, shown.splitlines())) <= 60
    assert not said


def test_text_from_outside_gives_the_terminal_no_commands() -> None:
    with output.output_console.capture() as caught:
        output.print_rows([{"text": "a\x1b]0;owned\x07 [red]b[/red]"}])
        output.output_console.print("c\x1b[2J")
    assert "\x1b" not in caught.get()
    assert r"a\x1b]0;owned\x07 [red]b[/red]" in caught.get()
    assert r"c\x1b[2J" in caught.get()


@shared
def test_models_lists_plain_folders() -> None:
    told = call_json("models", "--task", "sst2")
    assert [one["id"] for one in told] == ["bundled/sst2-teacher", "bundled/sst2-kd", "bundled/sst2-ad-kd"]
    for one in told:
        assert (Path(one["path"]) / "model.safetensors").is_file()
        assert {"task", "layers", "hidden_size", "parameters"} <= one.keys()


def test_the_table_of_models_unpacks_none(own_home: Path) -> None:
    done, listed = call_process("models"), call("models", "list")
    assert done.returncode == 0, done.stderr
    assert listed.stdout == done.stdout
    rows = [line.split()[1] for line in done.stdout.splitlines() if "bundled/" in line]
    assert rows == [f"bundled/{name}" for name in bundled_models()]
    assert not (own_home / "models").exists()


def test_a_folder_is_added_checked_and_removed(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "mine")
    done = call("models", "check", str(folder), "--task", "sst2")
    assert done.returncode == 0, done.stderr
    assert "ok: architecture: Its architecture is bert." in done.stderr
    told = call_json("models", "check", str(folder), "--task", "sst2")
    assert {finding["check"] for finding in told["findings"]} >= {"weights", "labels", "answers"}
    assert told["error"] is None
    failed = call("models", "check", str(folder), "--task", "mnli", "--json")
    assert failed.returncode == 2
    told = json.loads(failed.stdout)
    assert "2 classes; task mnli has 3" in told["error"]
    assert not told["findings"][-1]["passed"]
    assert call_json("models", "add", str(folder), "--task", "sst2")["kind"] == "folder"
    assert call_json("models", "remove", str(folder)) == {"id": str(folder), "path": str(folder), "deleted": False}
    assert call_json("models", "add", str(folder), "--task", "sst2")["id"] == str(folder)
    done = call("models", "remove", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"{folder} is unchanged" in " ".join(done.stderr.split())
    assert (folder / "config.json").exists()


def test_presets_are_listed_without_a_network() -> None:
    told = call_json("models", "presets")
    assert {"id": "textattack/bert-base-uncased-SST-2", "task": "sst2", "kind": "teacher"}.items() <= told[0].items()


@shared
@pytest.mark.slow
def test_distill_trains_in_the_foreground_and_its_run_is_in_the_store() -> None:
    told = call_json("distill", "--method", "ad_kd", "--steps", "4", "--batch-size", "8", "--source", "bundled")
    assert (told["state"], told["steps"]) == ("finished", 4)
    assert (Path(told["model"]) / "model.safetensors").is_file()
    assert told["student"] == f"run/{told['run']}"
    assert {"loss", "ad_kd", "validation/accuracy", "agreement/cosine"} <= told["metrics"].keys()
    plain = call("runs", "show", told["run"])
    assert f"torch {version('torch')}" in plain.stderr
    assert told["student"] in plain.stdout
    line = plain.stderr.partition("to explain a text with it: ")[2].splitlines()[0]
    assert shlex.split(line)[-8:-2] == [
        "--task", "sst2", "--teacher", "bundled/sst2-teacher", "--student", told["student"]
    ]  # fmt: skip
    shown = call_json("runs", "show", told["run"])
    assert (shown["state"], shown["config"]["method"]) == ("finished", "ad_kd")
    assert {"step": 4, "name": "loss", "value": told["metrics"]["loss"]} in shown["metrics"]
    listed = call_json("runs", "list")
    assert [row["run"] for row in listed] == [told["run"]]
    assert listed[0]["metric"] == told["metrics"]["validation/accuracy"]
    assert call_json("runs", "list", "no run has this") == []
    beside = call_json("runs", "compare", told["run"], told["run"])
    assert (beside["runs"], beside["settings"], beside["metrics"]) == ([told["run"]], {}, [told["metrics"]])
    laid = call("runs", "compare", told["run"])
    rows = [line.split()[1] for line in laid.stdout.splitlines() if line.startswith(("│", "┃"))]
    assert {"Training", "Validation"} < set(rows)
    assert rows.index("validation/accuracy") < rows.index("agreement/cosine") < rows.index("loss")
    explained = call_json("explain", "--text", "a good film", "--student", told["student"], "--method", "gradient")
    assert explained["models"][1]["id"] == f"run/{told['run']}"


def test_help_says_which_methods_read_an_option() -> None:
    shown = " ".join(re.sub("[│\n]", " ", call("distill", "--help").stdout).split())
    said = {name: shown.split(f"--{name} ")[1].split(" --")[0] for name in ("map-norm", "matching", "method-weight")}
    assert "For ad_kd." in said["map-norm"]
    assert "For gkd_cls, pkd." in said["matching"]
    assert "Not for kd, pkd." in said["method-weight"]
    assert " for " not in shown.split("--batch-size ")[1].split(" --")[0].lower()


@pytest.mark.parametrize("command", [["models"], ["runs", "list"], ["explain", "--text", "good"]])
def test_a_home_that_is_a_file_ends_with_code_2(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "file"))
    done = call(*command)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "set DISTILL_HOME" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explain", "--text", " "], "type at least one word"),
        (["explain", "--text", "?!"], "type at least one word"),
        (["explain", "--text", "good", "--teacher", "bundled/nope"], "bundled/sst2-teacher"),
        (["explain", "--text", "good", "--method", "magic"], "integrated_gradients"),
        (["explain", "--text", "good", "--target", "neutral"], "negative, positive"),
        (["explain", "--text", "good", "--baseline", "ones"], "zero, pad, mask"),
        (["explain", "--text", "good", "--units", "letters"], "pieces, words"),
        (["explain", "--text", "good", "--method", "shap", "--seed", "4294967296"], "from 0 to 4294967295"),
        (["explain", "--text", "good", "--seed", "-1"], "from 0 to 4294967295"),
        (["explain", "--text", "good", "--task", "sst3"], "sst2"),
        (["explain", "--text", "good", "--text-pair", "bad"], "takes one text"),
        (["evaluate", "--model", "bundled/sst2-kd", "--task", "nope"], "sst2"),
        (["evaluate", "--model", "bundled/sst2-kd", "--split", "test"], "train, validation"),
        (["evaluate", "--model", "bundled/sst2-kd", "--source", "/nowhere"], "does not exist"),
        (["distill", "--steps", "-5"], "(steps) is -5"),
        (["distill", "--method", "magic"], "kd, ad_kd"),
        (["distill", "--teacher", "bundled/nope"], "bundled/sst2-teacher"),
        (["distill", "--student-layers", "7"], "the teacher bundled/sst2-teacher has 6 layers: use 1 to 6"),
        (["models", "add", "./nowhere", "--task", "sst2"], "'./nowhere' does not exist; choose a folder"),
        (["models", "add", "org/name", "--task", "sst2"], "HF_HUB_OFFLINE is set"),
        (["models", "--task", "sst3"], "choose one of: sst2, cola"),
        (["models", "remove", "bundled/sst2-kd"], "was not added by you"),
        (["runs", "show", "nope"], "nope"),
        (["runs", "stop", "nope"], "nope"),
        (["runs", "pause", "nope"], "nope"),
        (["runs", "resume", "nope"], "nope"),
        (["runs", "move", "nope"], "nope"),
    ],
)
def test_bad_input_ends_with_code_2_and_the_valid_names(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["distill_core", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert words in " ".join(said.split())
