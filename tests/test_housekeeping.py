"""Names, notes, sizes and the end of runs."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_core.catalogue import find_model, list_models
from distill_core.checkpoints import BEST, LAST, keep_as_best
from distill_core.cli import app
from distill_core.config import RunConfig
from distill_core.errors import ConfigError, RunError
from distill_core.housekeeping import delete, rename, size
from distill_core.models import save_model
from distill_core.paths import home, run_folder
from distill_core.runner import submit
from distill_core.store import Store
from tests.conftest import FAKE_TOKEN
from tests.tiny import tiny_network, tiny_tokenizer

NASTY = "../../etc/passwd <b>x</b> ﷽ ../.."


def finished(store: Store, **settings: object) -> str:
    run_id = submit(store, RunConfig.from_values({"device": "cpu", **settings}))
    assert store.claim(lambda _: "cpu", FAKE_TOKEN, only=run_id) is not None
    store.write(run_id, FAKE_TOKEN, [(1, "loss", 0.5)], None)
    save_model(tiny_network(), tiny_tokenizer(), run_folder(run_id) / LAST, {"task": "sst2", "title": "before"})
    store.set_model(run_id, FAKE_TOKEN, run_folder(run_id) / LAST)
    store.end(run_id, FAKE_TOKEN, "finished")
    return run_id


def test_a_run_and_its_students_are_renamed(store: Store) -> None:
    run_id = finished(store, name="first")
    keep_as_best(run_folder(run_id))
    assert rename(store, run_id, f"  {NASTY}  ").title == NASTY
    assert store.get(run_id).config.name == "first"  # what it was started with
    titles = {model.id: model.title for model in list_models()}
    assert titles[f"run/{run_id}"] == f"{NASTY} ({run_id[-4:]})"
    assert titles[f"run/{run_id}/{BEST}"].startswith(NASTY)
    assert rename(store, run_id, "").title == run_id
    assert not list(home().rglob("*passwd*"))
    with pytest.raises(ConfigError, match="wanted a line of 0 to 200 characters"):
        rename(store, run_id, "x" * 10_000)
    with pytest.raises(RunError, match="Unknown run"):
        rename(store, "nope", "x")


def test_notes_and_tags_are_kept_as_written(store: Store) -> None:
    run_id = finished(store)
    note = "first line\nsecond <b>line</b> 漢字 'quoted'; DROP TABLE runs"
    store.annotate(run_id, note=note, tags=["  a b ", "", "ü,x", "a b"])
    found = store.get(run_id)
    assert (found.note, found.tags, found.title) == (note, ("a b", "ü,x"), run_id)
    store.annotate(run_id, name="named")
    assert (store.get(run_id).note, store.get(run_id).tags) == (note, ("a b", "ü,x"))
    with pytest.raises(ConfigError, match="A note has 10,001 characters; wanted at most 10,000"):
        store.annotate(run_id, note="x" * 10_001)


def test_what_checkpoints_share_is_counted_once(store: Store) -> None:
    run_id = finished(store)
    before = size(run_id)
    keep_as_best(run_folder(run_id))
    assert size(run_id) == before > 1000
    assert size("nope") == 0


def test_a_deleted_run_is_gone_with_all_it_had(store: Store) -> None:
    run_id, other = finished(store), finished(store)
    taken = size(run_id)
    assert delete(store, run_id) == taken
    assert [run.id for run in store.runs()] == [other]
    assert not run_folder(run_id).exists()
    assert store.latest(other) == {"loss": 0.5}
    assert store.metrics(run_id) == []
    find_model(f"run/{other}")
    with pytest.raises(RunError, match="Unknown run"):
        delete(store, run_id)


@pytest.mark.parametrize("kind", ["teacher", "student"])
def test_a_run_in_use_or_at_work_is_not_deleted(store: Store, kind: str) -> None:
    run_id = finished(store)
    user = submit(store, RunConfig.from_values({"device": "cpu", "name": "the user", kind: f"run/{run_id}"}))
    with pytest.raises(RunError, match="is used by the user; stop that first"):
        delete(store, run_id)
    with pytest.raises(RunError, match="is queued; stop it first"):
        delete(store, user)
    assert not store.forget(user)
    assert store.metrics(run_id) != []


def test_a_folder_that_cannot_be_deleted_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = finished(store)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refused)
    with pytest.raises(RunError, match="deleted, but not all of its folder"):
        delete(store, run_id)
    assert store.runs() == []


def test_a_record_that_cannot_be_rewritten_stays_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = finished(store)
    record = run_folder(run_id) / LAST / "distill.json"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RunError, match="renamed, but not its student"):
        rename(store, run_id, "new")
    assert json.loads(record.read_text())["title"] == "before"
    assert store.get(run_id).title == "new"


def test_the_command_line_renames_notes_and_deletes_what_it_is_told_to(store: Store) -> None:
    run_id = finished(store)

    def call(*words: str, answer: str = "") -> str:
        done = CliRunner().invoke(app, ["runs", *words], input=answer, catch_exceptions=False)
        return f"{done.exit_code} {done.output}"

    assert call("rename", run_id, NASTY).startswith("0 ")
    assert call("note", run_id, "to keep", "--tag", "a", "--tag", "b").startswith("0 ")
    found = store.get(run_id)
    assert (found.title, found.note, found.tags) == (NASTY, "to keep", ("a", "b"))
    call("note", run_id, "other")
    assert store.get(run_id).tags == ("a", "b")  # what is not given stays
    assert f"Delete {NASTY}" in call("delete", run_id, answer="n\n")
    assert store.get(run_id).id == run_id
    assert "free again" in call("delete", run_id, answer="y\n")
    assert store.runs() == []
    assert "free again" in call("delete", finished(store), "--yes")
