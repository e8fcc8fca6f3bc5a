"""`runs export` as a script meets it: files of a real run, refusals in words with exit code 2."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from distill_core.models.encoder import load_model
from distill_core.runs import scheduler
from distill_core.runs.store import Store
from tests.support.command_line import call, call_json
from tests.support.exported_files import add_run, names, scalars
from tests.support.saved_students import save_student
from tests.support.small_run import small_run
from tests.support.tiny import tiny_folder


def test_the_command_is_one_of_the_runs() -> None:
    shown = call("runs", "export", "--help")
    assert shown.returncode == 0
    assert "csv, parquet, json, tensorboard, model" in " ".join(re.sub("[│\n]", " ", shown.stdout).split())


@pytest.mark.slow
def test_a_real_run_is_exported_in_every_form(tmp_path: Path) -> None:
    store = Store()
    run_id = scheduler.enqueue(store, small_run(tiny_folder(tmp_path / "teacher"), name="<i>mine</i>"))
    scheduler.reconcile(store)
    assert scheduler.wait(store, run_id, 120).state == "finished", store.log_tail(run_id)
    done = call("runs", "export", run_id, "--as", "csv", "--to", str(tmp_path / "a.csv"))
    assert done.returncode == 0, done.stderr
    assert f"{run_id}: csv written to {tmp_path / 'a.csv'}" in done.stderr
    frame = pd.read_csv(tmp_path / "a.csv")
    points = store.metrics(run_id)
    assert list(frame["metric"]) == [point.name for point in points]
    for kind, name in (("parquet", "a.parquet"), ("json", "a.json"), ("tensorboard", "tb"), ("model", "m")):
        told = call_json("runs", "export", run_id, "--as", kind, "--to", str(tmp_path / name))
        assert told == {"run": run_id, "as": kind, "path": str(tmp_path / name)}
    read = pd.read_parquet(tmp_path / "a.parquet")
    wanted = [point.value for point in points]
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(read["value"], wanted, strict=True))
    shown, told = call_json("runs", "show", run_id), json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert len(shown.pop("metrics")) == len(points)
    assert shown.pop("disk_mb") > 0
    assert {name: told[name] for name in shown} == shown
    assert told["versions"] == told["exported_by"]
    (file,) = (tmp_path / "tb").iterdir()
    assert [(tag, step) for tag, step, *_ in scalars(file)] == [(point.name, point.step) for point in points]
    assert load_model(tmp_path / "m").network.config.num_hidden_layers == 1
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["teacher"] == str(tmp_path / "teacher")
    assert "# &lt;i&gt;mine&lt;/i&gt;" in card
    for used in store.data_of(run_id):
        assert used.fingerprint in card
    for metric in ("accuracy", "agreement/cosine"):
        assert f"| {metric} | " in card
    assert names(tmp_path) == ["a.csv", "a.json", "a.parquet", "m", "tb", "teacher"]


def test_refusals_are_in_words(store: Store, tmp_path: Path) -> None:
    add_run(store, state="failed")
    kept = tmp_path / "kept"
    kept.write_text("kept")
    for arguments, words in (
        (["nope", "--as", "csv", "--to", "a"], "Unknown run 'nope'; the latest runs: one."),
        (["one", "--as", "xlsx", "--to", "a"], "choose one of: csv, parquet, json, tensorboard, model"),
        (["one", "--as", "model", "--to", str(tmp_path / "m")], "has no student to export"),
        (["one", "--as", "csv", "--to", str(kept)], "replace it with --force"),
        (["one", "--as", "csv", "--to", str(kept / "a.csv")], "is not a folder"),
        (["one", "--as", "csv", "--to", str(tmp_path / "no" / "a.csv")], "does not exist; create that folder"),
        (["one", "--as", "json", "--best", "--to", str(tmp_path / "m")], "Only a model has a best checkpoint"),
    ):
        done = call("runs", "export", *arguments)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert words in " ".join(done.stderr.split())
    assert names(tmp_path) == ["kept"]
    assert kept.read_text() == "kept"


def test_force_and_zip(store: Store, tmp_path: Path) -> None:
    add_run(store)
    save_student()
    (tmp_path / "a.csv").write_text("old")
    done = call("runs", "export", "one", "--as", "csv", "--to", str(tmp_path / "a.csv"), "--force")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").startswith("step,metric,value\n")
    done = call("runs", "export", "one", "--as", "model", "--best", "--to", str(tmp_path / "m.zip"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.zip").read_bytes().startswith(b"PK")
