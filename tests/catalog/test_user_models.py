"""The list of models a user added: kept across processes, whole under many of them, damage told."""

import multiprocessing
from pathlib import Path

import pytest

from distill_core.catalog.user_models import UserModel, add_user_model, list_user_models, remove_user_model
from distill_core.config.run_config import RunConfig
from distill_core.errors import ModelError
from distill_core.runs.store import Store
from tests.support.damaged_json import DAMAGED_JSON


def entry(name: str, path: str = "/m", **values: str) -> UserModel:
    return UserModel(**{"id": name, "path": path, "task": "sst2", "origin": "folder", **values})


def test_nothing_is_added_at_first() -> None:
    assert list_user_models() == []


def test_the_newest_is_first_and_an_id_stands_once() -> None:
    add_user_model(entry("a"))
    add_user_model(entry("b"))
    add_user_model(entry("a", title="again"))
    assert [(one.id, one.title) for one in list_user_models()] == [("a", "again"), ("b", "")]


def test_one_that_is_there_for_another_task_is_not_lost() -> None:
    add_user_model(entry("a"))
    with pytest.raises(ModelError, match=r"a is already added, for task sst2, .* to use it for rte, remove it first"):
        add_user_model(entry("a", task="rte"))
    assert [one.task for one in list_user_models()] == ["sst2"]


@pytest.mark.parametrize("use", [{"teacher": "a"}, {"teacher": "/m"}, {"student_init": "a"}, {"student_init": "/m"}])
def test_a_model_that_a_run_that_waits_uses_cannot_be_removed(use: dict[str, str], store: Store) -> None:
    add_user_model(entry("a"))
    store.add("one", RunConfig(**use))
    with pytest.raises(ModelError, match=r"Model a is used by .*; stop the run first, or wait for its end"):
        remove_user_model("a")
    assert [one.id for one in list_user_models()] == ["a"]
    store.cancel("one")
    assert remove_user_model("a").id == "a"


def test_an_unknown_one_cannot_be_forgotten() -> None:
    add_user_model(entry("a"))
    with pytest.raises(ModelError, match="'bundled/sst2-kd' was not added by you; choose one of those that were: a"):
        remove_user_model("bundled/sst2-kd")


@pytest.mark.parametrize(
    ("origin", "place", "goes"),
    [("hub", "models/hub/x", True), ("folder", "models/x", False), ("hub", "elsewhere", False)],
)
def test_only_the_apps_own_copy_is_deleted(origin: str, place: str, goes: bool, own_home: Path) -> None:
    folder = own_home / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    add_user_model(entry("a", str(folder), origin=origin))
    assert remove_user_model("a").path == str(folder)
    assert list_user_models() == []
    assert folder.exists() != goes
    assert not list(own_home.rglob("*.old"))


def test_a_removal_that_was_killed_is_finished_by_the_next(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_home / "models" / "hub" / "x"
    folder.mkdir(parents=True)
    add_user_model(entry("a", str(folder), origin="hub"))
    monkeypatch.setattr("distill_core.catalog.user_models.shutil", None)
    with pytest.raises(AttributeError):
        remove_user_model("a")
    monkeypatch.undo()
    monkeypatch.setenv("DISTILL_HOME", str(own_home))
    assert [aside.suffix for aside in folder.parent.iterdir()] == [".old"]
    remove_user_model("a")
    assert not list(folder.parent.iterdir())


@pytest.mark.parametrize("content", [*DAMAGED_JSON.values(), b'{"models": [{"id": 1}]}', b'{"models": 3}'])
def test_a_damaged_list_is_named_with_the_next_step(content: bytes, own_home: Path) -> None:
    add_user_model(entry("a"))
    (own_home / "added.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"added\.json cannot be read .* delete it and add them again"):
        list_user_models()
    with pytest.raises(ModelError, match="cannot be read"):
        add_user_model(entry("b"))
    assert (own_home / "added.json").read_bytes() == content


def _remember_many(name: str) -> None:
    for number in range(20):
        add_user_model(entry(f"{name}{number}"))


def test_two_processes_lose_none_of_each_others() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(_remember_many, ["a", "b"])
    assert {one.id for one in list_user_models()} == {f"{name}{number}" for name in "ab" for number in range(20)}
