"""A run's student given away: whole, of one checkpoint, with a card whose lines run; or refused with a reason."""

import errno
import io
import os
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from distill_core.catalog.catalog import find_model
from distill_core.errors import ModelError, RunError, StoreError
from distill_core.export import run_export
from distill_core.export.run_export import export_run, model_zip_bytes
from distill_core.models.encoder import load_model
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import BEST, LAST, replace_folder, save_last_as_best
from tests.support.exported_files import add_run, names
from tests.support.saved_students import save_student


def test_the_student_is_a_plain_folder_with_a_card(store: Store, tmp_path: Path) -> None:
    run, source = add_run(store), save_student()
    folder = export_run(store, run, "model", tmp_path / "m")
    assert names(folder) == sorted({*names(source), "README.md"} - {STATE_FILE})
    for file in folder.iterdir():
        if file.name != "README.md":
            assert file.read_bytes() == (source / file.name).read_bytes()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| accuracy | 0.7500 (2) |" in card
    assert "Made with torch 1.2.3." in card
    assert find_model(str(folder)).layers == 1
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.id2label[1] == "positive"


@pytest.mark.parametrize("packed", [False, True])
def test_the_snippet_of_the_card_runs(
    packed: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = add_run(store), save_student()
    folder = export_run(store, run, "model", tmp_path / ("m.zip" if packed else "m"))
    if packed:
        with zipfile.ZipFile(folder) as archive:
            assert archive.testzip() is None
            archive.extractall(tmp_path)
        folder = tmp_path / "one"
    monkeypatch.chdir(folder)
    snippet = Path("README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(snippet, {})
    assert capsys.readouterr().out.startswith(("negative [[", "positive [["))


def test_the_zip_holds_the_same_as_the_folder(store: Store, tmp_path: Path) -> None:
    run, _ = add_run(store), save_student()
    folder = export_run(store, run, "model", tmp_path / "m")
    packed = export_run(store, run, "model", tmp_path / "M.ZIP")
    with zipfile.ZipFile(packed) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert content == {f"one/{file.name}": file.read_bytes() for file in folder.iterdir()}


def test_the_zip_that_is_downloaded_is_the_one_that_is_written(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    save_student(step=2, best=1)
    save_student(BEST, step=1, best=1, seed=3)
    for best in (False, True):
        written = export_run(store, run, "model", tmp_path / f"{best}.zip", best=best)
        assert model_zip_bytes(store, run, best=best) == written.read_bytes()
    assert model_zip_bytes(store, run) != model_zip_bytes(store, run, best=True)


def test_what_a_link_points_to_is_not_given_away(store: Store, tmp_path: Path) -> None:
    run, source = add_run(store), save_student()
    (tmp_path / "secret").write_text("mine")
    (source / "notes.txt").symlink_to(tmp_path / "secret")
    with zipfile.ZipFile(io.BytesIO(model_zip_bytes(store, run))) as archive:
        assert "one/notes.txt" not in archive.namelist()
        assert "one/distill.json" in archive.namelist()


def test_the_weights_are_never_in_memory_as_a_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = add_run(store), save_student()
    monkeypatch.setattr(run_export, "_CHUNK", 1000)
    asked: list[int] = []

    class Watched(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(size)

    opened = Path.open

    def watching(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        return Watched(path) if path.name == run_export.WEIGHTS and mode == "rb" else opened(path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", watching)
    for target in ("m", "m.zip"):
        export_run(store, run, "model", tmp_path / target)
    assert len(asked) > 10
    assert 1000 in asked
    assert -1 not in asked


def test_the_best_checkpoint_is_exported_on_request(store: Store, tmp_path: Path) -> None:
    run = add_run(store, state="stopped")
    save_student(step=1, best=1, seed=1)
    save_last_as_best(run_folder("one"))
    save_student(step=2, best=1, seed=2)
    folder = export_run(store, run, "model", tmp_path / "best", best=True)
    assert (folder / "model.safetensors").read_bytes() == (run_folder("one") / BEST / "model.safetensors").read_bytes()
    assert "after step 1 of 2, its best evaluation." in (folder / "README.md").read_text()
    last = export_run(store, run, "model", tmp_path / "last")
    assert "after step 2 of 2; its best evaluation was after step 1." in (last / "README.md").read_text()


def test_a_last_checkpoint_that_is_the_best_is_exported_as_such(store: Store, tmp_path: Path) -> None:
    run, _ = add_run(store), save_student(step=2, best=2)
    export_run(store, run, "model", tmp_path / "m", best=True)
    save_student(step=2, best=0)
    with pytest.raises(RunError, match="has no best checkpoint: export its last one"):
        export_run(store, run, "model", tmp_path / "n", best=True)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "Wait for its first evaluation, after 20 steps"),
        ("failed", "runs resume one$"),
        ("finished", "files were deleted"),
    ],
)
def test_a_run_without_a_student_is_refused_with_a_next_step(
    state: str, words: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_export, "_ATTEMPTS", 2)
    run = add_run(store, state=state)
    for target in ("m", "m.zip"):
        with pytest.raises(RunError, match=words):
            export_run(store, run, "model", tmp_path / target)
    assert names(tmp_path) == []
    export_run(store, run, "csv", tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("distill.json", "{"),
        ("distill.json", "[]"),
        ("distill.json", '{"step": "two"}'),
        ("distill.json", None),
        ("config.json", "{"),
        ("model.safetensors", "other bytes"),
        ("model.safetensors", None),
    ],
)
def test_a_damaged_student_is_named_and_leaves_nothing(
    file: str, content: str | None, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_export, "_ATTEMPTS", 2)
    run, folder = add_run(store), save_student()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    for target in ("m", "m.zip"):
        with pytest.raises(ModelError, match="damaged"):
            export_run(store, run, "model", tmp_path / target)
    assert names(tmp_path) == []


def test_weights_that_were_changed_are_not_passed_on(store: Store, tmp_path: Path) -> None:
    run, folder = add_run(store), save_student()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match="not those that were saved"):
        export_run(store, run, "model", tmp_path / "m")
    assert names(tmp_path) == []


def test_a_checkpoint_that_is_replaced_meanwhile_is_exported_as_it_was_or_is(store: Store, tmp_path: Path) -> None:
    run = add_run(store, state="running")
    save_student(step=1, seed=1)
    over = threading.Event()

    def train() -> None:
        step = 1
        while not over.is_set():
            step += 1
            part = save_student(f"part{step}", step=step, seed=step)
            replace_folder(part, run_folder("one") / LAST)

    worker = threading.Thread(target=train)
    worker.start()
    try:
        for at in range(15):
            folder = export_run(store, run, "model", tmp_path / f"m{at}")
            load_model(folder)  # whose weights are those its record names
            time.sleep(0.01)
    finally:
        over.set()
        worker.join()
    assert len(names(tmp_path)) == 15


def test_files_opened_while_the_checkpoint_was_replaced_are_opened_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, last = add_run(store, state="running"), save_student(step=1, seed=1)
    new, opened = save_student("new", step=2, seed=2), Path.open

    def replacing(path: Path, *rest: Any, **named: Any) -> Any:
        if path == last / "distill.json" and rest == ("rb",) and new.exists():
            stream = opened(path, *rest, **named)
            replace_folder(new, last)
            return stream
        return opened(path, *rest, **named)

    monkeypatch.setattr(Path, "open", replacing)
    folder = export_run(store, run, "model", tmp_path / "m")
    assert "after step 2 of 2" in (folder / "README.md").read_text()
    load_model(folder)


def test_an_exported_student_is_renewed_and_a_repository_is_not(store: Store, tmp_path: Path) -> None:
    run, _ = add_run(store), save_student()
    folder = export_run(store, run, "model", tmp_path / "m")
    export_run(store, run, "model", folder, force=True)
    (folder / ".git").mkdir()
    with pytest.raises(StoreError, match="other files in it"):
        export_run(store, run, "model", folder, force=True)
    assert (folder / "README.md").exists()


@pytest.mark.parametrize("target", ["m", "m.zip", "tb", "a.csv"])
def test_a_full_disk_is_told_and_leaves_nothing(
    target: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = add_run(store), save_student()
    kind = {"tb": "tensorboard", "a.csv": "csv"}.get(target, "model")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_export, "_copy_hashing", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr("tensorboardX.record_writer.RecordWriter.write", full)
    with pytest.raises(StoreError, match="No space left on the disk for"):
        export_run(store, run, kind, tmp_path / target)
    assert names(tmp_path) == []
