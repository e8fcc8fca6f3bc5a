"""The list of models a user added: kept across processes, whole under many of them, damage told."""

import multiprocessing
from pathlib import Path

import pytest

from distill_core.catalog.user_models import Added, forget, list_added, remember
from distill_core.config.run_config import RunConfig
from distill_core.errors import ModelError
from distill_core.runs.store import Store


def entry(name: str, path: str = "/m", **values: str) -> Added:
    return Added(**{"id": name, "path": path, "task": "sst2", "origin": "folder", **values})


def test_nothing_is_added_at_first() -> None:
    assert list_added() == []


def test_the_newest_is_first_and_an_id_stands_once() -> None:
    remember(entry("a"))
    remember(entry("b"))
    remember(entry("a", title="again"))
    assert [(one.id, one.title) for one in list_added()] == [("a", "again"), ("b", "")]


def test_one_that_is_there_for_another_task_is_not_lost() -> None:
    remember(entry("a"))
    with pytest.raises(ModelError, match=r"a is added already, for task sst2, .* to have it for rte, remove it first"):
        remember(entry("a", task="rte"))
    assert [one.task for one in list_added()] == ["sst2"]


@pytest.mark.parametrize("use", [{"teacher": "a"}, {"teacher": "/m"}, {"student_init": "a"}, {"student_init": "/m"}])
def test_a_model_that_a_run_that_waits_uses_cannot_be_removed(use: dict[str, str], store: Store) -> None:
    remember(entry("a"))
    store.add("one", RunConfig(**use))
    with pytest.raises(ModelError, match=r"Model a is used by .*; stop the run first, or wait for its end"):
        forget("a")
    assert [one.id for one in list_added()] == ["a"]
    store.cancel("one")
    assert forget("a").id == "a"


def test_an_unknown_one_cannot_be_forgotten() -> None:
    remember(entry("a"))
    with pytest.raises(ModelError, match="'bundled/sst2-kd' was not added by you; those that were: a"):
        forget("bundled/sst2-kd")


@pytest.mark.parametrize(
    ("origin", "place", "goes"),
    [("hub", "models/hub/x", True), ("folder", "models/x", False), ("hub", "elsewhere", False)],
)
def test_only_the_apps_own_copy_is_deleted(origin: str, place: str, goes: bool, own_home: Path) -> None:
    folder = own_home / place
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    remember(entry("a", str(folder), origin=origin))
    assert forget("a").path == str(folder)
    assert list_added() == []
    assert folder.exists() != goes
    assert not list(own_home.rglob("*.old"))


def test_a_removal_that_was_killed_is_finished_by_the_next(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_home / "models" / "hub" / "x"
    folder.mkdir(parents=True)
    remember(entry("a", str(folder), origin="hub"))
    monkeypatch.setattr("distill_core.catalog.user_models.shutil", None)
    with pytest.raises(AttributeError):
        forget("a")
    monkeypatch.undo()
    monkeypatch.setenv("DISTILL_HOME", str(own_home))
    assert [aside.suffix for aside in folder.parent.iterdir()] == [".old"]
    forget("a")
    assert not list(folder.parent.iterdir())


@pytest.mark.parametrize("content", ["", "[]", '{"models": [{"id": 1}]}', '{"models": 3}', "\x00"])
def test_a_damaged_list_is_named_with_the_next_step(content: str, own_home: Path) -> None:
    remember(entry("a"))
    (own_home / "added.json").write_text(content)
    with pytest.raises(ModelError, match=r"added\.json cannot be read .* delete it and add the models again"):
        list_added()
    with pytest.raises(ModelError, match="cannot be read"):
        remember(entry("b"))
    assert (own_home / "added.json").read_text() == content


def _remember_many(name: str) -> None:
    for number in range(20):
        remember(entry(f"{name}{number}"))


def test_two_processes_lose_none_of_each_others() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(_remember_many, ["a", "b"])
    assert {one.id for one in list_added()} == {f"{name}{number}" for name in "ab" for number in range(20)}
