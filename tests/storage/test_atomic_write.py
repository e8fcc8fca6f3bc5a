"""Where a user names a place: it is refused in words, or it holds the whole thing, or what it held before."""

import errno
import os
from pathlib import Path

import pytest

from distill_core.errors import StoreError
from distill_core.storage.atomic_write import IsReplaceable, write_atomically


def put(target: Path | str, content: str, force: bool = False) -> Path:
    with write_atomically(target, force, None) as (path, part):
        part.write_text(content)
    return path


def put_folder(target: Path | str, force: bool = False, ours: IsReplaceable = lambda _: True) -> Path:
    with write_atomically(target, force, ours) as (path, part):
        part.mkdir()
        (part / "new").write_text("new")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "home")


def test_relative_and_home_paths_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user" / "sub").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path / "user" / "sub")
    assert put("../a.csv", "a") == tmp_path / "user" / "a.csv"
    assert put("~/b.csv", "b") == tmp_path / "user" / "b.csv"
    assert put_folder("c") == tmp_path / "user" / "sub" / "c"
    assert names(tmp_path / "user") == ["a.csv", "b.csv", "sub"]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path: Path) -> None:
    put(tmp_path / ("x" * 255), "a")
    put_folder(tmp_path / ("y" * 255))
    assert names(tmp_path) == ["x" * 255, "y" * 255]


def test_what_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    put(tmp_path / "a", "old")
    with pytest.raises(StoreError, match="exists already; choose another place, or replace it with --force"):
        put(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    put(tmp_path / "a", "new", force=True)
    assert (tmp_path / "a").read_text() == "new"
    (put_folder(tmp_path / "f") / "older").write_text("")
    put_folder(tmp_path / "f", force=True)
    assert names(tmp_path / "f") == ["new"]
    assert names(tmp_path) == ["a", "f"]


def test_force_deletes_no_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("")
    with pytest.raises(StoreError, match="other files in it"):
        put_folder(tmp_path / "photos", force=True, ours=lambda found: all(path.suffix == ".ours" for path in found))
    with pytest.raises(StoreError, match="is a folder or a link; wanted a name for a file"):
        put(tmp_path / "photos", "", force=True)
    assert names(tmp_path / "photos") == ["one.jpg"]
    put(tmp_path / "file", "")
    with pytest.raises(StoreError, match="is a file; wanted a name for a folder"):
        put_folder(tmp_path / "file", force=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(StoreError, match="is a folder or a link"):
        put_folder(tmp_path / "link", force=True)
    assert names(tmp_path) == ["file", "link", "photos"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere/a.csv", "nowhere does not exist; create that folder"),
        ("file/a.csv", "file is not a folder"),
        ("file/sub/a.csv", "does not exist; create that folder"),
        ("a\0b", "cannot be written"),
        ("~no-such-user-here/a", "cannot be written"),
        ("x" * 300, "File name too long"),
        ("home/runs.sqlite", "the application's folder"),
    ],
)
def test_a_place_that_cannot_be_used_is_named(
    target: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    own_home.mkdir()
    (tmp_path / "file").write_text("kept")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=words):
        put(target, "new", force=True)
    assert names(tmp_path) == ["file"]
    assert names(own_home) == []


def test_the_folder_one_stands_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", "kept")
    monkeypatch.chdir(tmp_path)
    for target in ("", ".", "/"):
        with pytest.raises(StoreError, match="other files in it"):
            put_folder(target, force=True, ours=lambda _: False)
    assert names(tmp_path) == ["a"]


def _fail(target: Path, ours: IsReplaceable | None, code: int) -> None:
    with write_atomically(target, True, ours) as (_, part):
        if ours is not None:
            part.mkdir()
        (part if ours is None else part / "half").write_text("half")
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_what_was_there(code: int, tmp_path: Path) -> None:
    put_folder(tmp_path / "f")
    for target, ours in (("f", lambda _: True), ("a", None)):
        with pytest.raises(StoreError, match="No space left" if code == errno.ENOSPC else "failed"):
            _fail(tmp_path / target, ours, code)
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["new"]


def test_an_interrupt_between_two_renames_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_folder(tmp_path / "f")

    def interrupted(_: Path, __: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_folder(tmp_path / "f", force=True)
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["new"]
