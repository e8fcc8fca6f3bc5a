"""Stored teacher outputs are found again for the same teacher, examples and method, and only for these."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.errors import RunError
from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import Encoded, Inputs, collate, encode
from distill_core.objectives import ForwardPass, Objective
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.gkd_cls import GkdCls
from distill_core.objectives.minilm import MiniLm
from distill_core.training import teacher_cache, teacher_store
from distill_core.training.state import tensors_sha256
from distill_core.training.teacher_cache import TeacherCache
from tests.support.tiny import tiny_model, tiny_tokenizer

ROWS = [encode(tiny_tokenizer(), text) for text in ("a good film", "awful acting", "the plot is dull")]
LABELS = torch.tensor([1, 0, 0])


@pytest.fixture
def teacher(tmp_path: Path) -> LoadedModel:
    return tiny_model(tmp_path / "teacher", seed=1)


def filled(teacher: LoadedModel, method: Objective | None) -> TeacherCache:
    cache = TeacherCache(teacher, method, ROWS, LABELS)
    cache.batch([0, 1, 2], collate(ROWS, 0), LABELS)
    cache.save()
    return cache


@pytest.mark.parametrize("batch", [[0], [0, 1, 2], [2, 3, 0]])
def test_the_shape_of_an_examples_batch_depends_only_on_its_length(
    teacher: LoadedModel, batch: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [*ROWS, encode(tiny_tokenizer(), "the plot is dull and the music is awful " * 3)]
    labels, seen = torch.tensor([1, 0, 0, 0]), []
    compute = teacher_cache.teacher_pass

    def watched(model: LoadedModel, inputs: Inputs, *rest: torch.Tensor, **options: Any) -> ForwardPass:
        seen.append(tuple(inputs.input_ids.shape))
        return compute(model, inputs, *rest, **options)

    monkeypatch.setattr(teacher_cache, "teacher_pass", watched)
    cache = TeacherCache(teacher, AdKd(), rows, labels)
    cache.batch(batch, collate([rows[row] for row in batch], 0), labels[batch])
    short, longer = (8, 16), (8, 32)
    assert seen == ([short, longer] if 3 in batch else [short])


@pytest.mark.parametrize("method", [AdKd(), GkdCls(((1, 1),)), MiniLm()], ids=lambda method: method.key)
def test_stored_outputs_are_read_from_disk(teacher: LoadedModel, method: Objective) -> None:
    first = filled(teacher, method)
    again = TeacherCache(teacher, method, ROWS, LABELS)
    assert (again.known, again.calls) == (3, 0)
    for row in range(3):  # alone as in the batch it was computed in, without its padding
        inputs = collate([ROWS[row]], 0)
        (logits, targets), (wanted, wanted_targets) = (cache.batch([row], inputs, LABELS) for cache in (again, first))
        assert torch.equal(logits, wanted)
        assert targets.keys() == wanted_targets.keys() != set()
        for name, values in wanted_targets.items():
            assert torch.equal(targets[name], values)
    assert again.calls == 0


@pytest.mark.parametrize("what", ["method", "top_k", "labels", "segments", "text", "weights"])
def test_changed_examples_weights_and_settings_are_computed_anew(
    teacher: LoadedModel, tmp_path: Path, what: str
) -> None:
    filled(teacher, AdKd())
    rows: list[Encoded] = list(ROWS)
    labels, method, other = LABELS, AdKd(), teacher
    if what == "labels":
        labels = torch.tensor([1, 0, 1])
    elif what == "segments":
        rows[0] = replace(rows[0], types=tuple(1 for _ in rows[0].ids))
    elif what == "text":
        rows[0] = encode(tiny_tokenizer(), "a bad film")
    elif what == "weights":
        other = tiny_model(tmp_path / "other", seed=2)
    elif what == "top_k":
        method = AdKd(top_k=3)
    shared = 2 if what in ("labels", "segments", "text") else 0  # the two examples that are the same
    assert TeacherCache(other, None if what == "method" else method, rows, labels).known == shared


def test_samples_of_the_same_data_share_stored_outputs(teacher: LoadedModel) -> None:
    filled(teacher, AdKd())
    other = encode(tiny_tokenizer(), "a bad film")
    cache = TeacherCache(teacher, AdKd(), [other, ROWS[2], ROWS[0]], torch.tensor([0, 0, 1]))
    assert cache.known == 2
    cache.batch([0, 1], collate([other, ROWS[2]], 0), LABELS[:2])
    cache.save()
    assert TeacherCache(teacher, AdKd(), [*ROWS, other], torch.tensor([1, 0, 0, 0])).known == 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_saved_outputs_are_mapped_from_the_file(teacher: LoadedModel, own_home: Path) -> None:
    for cache in (filled(teacher, AdKd()), TeacherCache(teacher, AdKd(), ROWS, LABELS)):
        (file,) = (own_home / "teacher").glob("*/*.safetensors")
        lines = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if file.name in line]
        mapped = [tuple(int(end, 16) for end in line.split("-")) for line in lines]
        for numbers in cache._outputs.values():
            assert all(any(low <= one.data_ptr() < high for low, high in mapped) for one in numbers.values())


def test_a_file_with_changed_numbers_is_dropped(teacher: LoadedModel, own_home: Path) -> None:
    filled(teacher, AdKd())
    (file,) = (own_home / "teacher").glob("*/*.safetensors")
    content = load_file(file)
    content["logits"][0, 0] += 1.0
    save_file(content, file, metadata={"sha256": "0" * 64})
    assert TeacherCache(teacher, AdKd(), ROWS, LABELS).known == 0
    assert not file.exists()


def test_partial_files_of_killed_processes_are_ignored_and_deleted(teacher: LoadedModel, own_home: Path) -> None:
    filled(teacher, AdKd())
    (file,) = (own_home / "teacher").glob("*/*.safetensors")
    left = [file.with_name(f"{name}.part") for name in ("old", "new")]
    for part in left:
        part.write_bytes(b"half")
    os.utime(left[0], (0, 0))
    assert TeacherCache(teacher, AdKd(), ROWS, LABELS).known == 3
    filled(teacher, None)
    assert [part.exists() for part in left] == [False, True]  # the new one may be being written


def test_the_least_recently_used_folders_are_deleted_at_the_limit(
    teacher: LoadedModel, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = (AdKd(), AdKd(top_k=2), AdKd(top_k=3))
    for at, method in enumerate(methods[:2]):
        filled(teacher, method)
        for folder in (own_home / "teacher").iterdir():
            if folder.stat().st_mtime > 1e6:
                os.utime(folder, (at, at))
    size = sum(file.stat().st_size for file in (own_home / "teacher").glob("*/*"))
    monkeypatch.setattr(teacher_store, "LIMIT_BYTES", size + 100)
    filled(teacher, methods[2])
    found = [TeacherCache(teacher, method, ROWS, LABELS).known for method in methods]
    assert found == [0, 3, 3]


def test_outputs_larger_than_the_limit_are_computed_but_not_stored(
    teacher: LoadedModel, own_home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(teacher_store, "LIMIT_BYTES", 100)
    cache = filled(teacher, AdKd())
    assert cache.known == 3
    assert "computed again when they are needed" in caplog.text
    assert not list((own_home / "teacher").glob("*/*"))


def test_the_oldest_files_of_a_teacher_make_room_for_new_ones(
    teacher: LoadedModel, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(teacher, AdKd())
    size = sum(file.stat().st_size for file in (own_home / "teacher").glob("*/*"))
    monkeypatch.setattr(teacher_store, "LIMIT_BYTES", size + 100)
    others = [encode(tiny_tokenizer(), text) for text in ("the music is dull", "never watch", "love")]
    cache = TeacherCache(teacher, AdKd(), others, LABELS)
    cache.batch([0, 1, 2], collate(others, 0), LABELS)
    cache.save()
    assert [TeacherCache(teacher, AdKd(), rows, LABELS).known for rows in (others, ROWS)] == [3, 0]


def test_a_full_disk_does_not_end_the_run(
    teacher: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(teacher_store, "save_file", full)
    cache = filled(teacher, AdKd())
    assert cache.known == 3
    assert "No space left on device" in caplog.text
    monkeypatch.undo()
    assert TeacherCache(teacher, AdKd(), ROWS, LABELS).known == 0


def test_outputs_that_are_not_finite_end_the_run_and_are_not_stored(teacher: LoadedModel, own_home: Path) -> None:
    with torch.no_grad():
        teacher.network.classifier.bias[0] = float("nan")
    with pytest.raises(RunError, match=r"outputs of the teacher .* on the training examples are not finite"):
        filled(teacher, AdKd())
    assert not list((own_home / "teacher").rglob("*.safetensors"))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_a_file_of_another_format_is_ignored(teacher: LoadedModel, own_home: Path, kind: torch.dtype) -> None:
    """One of another type, and one with the right checksum that lacks what the method wrote."""
    filled(teacher, AdKd())
    (file,) = (own_home / "teacher").rglob("*.safetensors")
    content = {name: value for name, value in load_file(file).items() if name != "maps"}
    content["logits"] = content["logits"].to(kind)
    save_file(content, file, {"sha256": tensors_sha256(content)})
    assert TeacherCache(teacher, AdKd(), ROWS, LABELS).known == 0


def test_stored_outputs_that_are_not_finite_are_dropped(teacher: LoadedModel, own_home: Path) -> None:
    filled(teacher, None)
    (file,) = (own_home / "teacher").rglob("*.safetensors")
    content = load_file(file)
    content["logits"][0] = float("nan")
    save_file(content, file, {"sha256": tensors_sha256(content)})
    assert TeacherCache(teacher, None, ROWS, LABELS).known == 0
    assert not file.exists()
