"""The teacher's stored numbers are found again for the same question, and only for the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.encoding import Encoded, collate, encode
from distill_core.models import LoadedModel
from distill_core.objectives import AdKd, GkdCls, Method
from distill_core.teacher_cache import TeacherCache
from tests.tiny import tiny_model, tiny_tokenizer

ROWS = [encode(tiny_tokenizer(), text) for text in ("a good film", "awful acting", "the plot is dull")]
LABELS = torch.tensor([1, 0, 0])


@pytest.fixture
def teacher(tmp_path: Path) -> LoadedModel:
    return tiny_model(tmp_path / "teacher", seed=1)


def filled(teacher: LoadedModel, method: Method | None) -> TeacherCache:
    cache = TeacherCache(teacher, method, ROWS, LABELS)
    cache.batch([0, 1, 2], collate(ROWS, 0), LABELS)
    cache.save()
    return cache


@pytest.mark.parametrize("method", [AdKd(), GkdCls(((1, 1),))], ids=lambda method: method.key)
def test_the_same_question_is_answered_from_disk(teacher: LoadedModel, method: Method) -> None:
    first = filled(teacher, method)
    again = TeacherCache(teacher, method, ROWS, LABELS)
    assert (again.known, again.calls) == (3, 0)
    for row in range(3):  # alone as in the batch it was computed in, without its padding
        inputs = collate([ROWS[row]], 0)
        (logits, signal), (wanted, wanted_signal) = (cache.batch([row], inputs, LABELS) for cache in (again, first))
        assert torch.equal(logits, wanted)
        assert signal.keys() == wanted_signal.keys() != set()
        for name, values in wanted_signal.items():
            assert torch.equal(signal[name], values)
    assert again.calls == 0


@pytest.mark.parametrize("what", ["method", "top_k", "labels", "segments", "text", "weights"])
def test_another_question_is_computed_afresh(teacher: LoadedModel, tmp_path: Path, what: str) -> None:
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
    assert TeacherCache(other, None if what == "method" else method, rows, labels).known == 0


def test_numbers_that_are_not_those_written_are_dropped(teacher: LoadedModel, own_home: Path) -> None:
    filled(teacher, AdKd())
    (file,) = (own_home / "teacher").glob("*.safetensors")
    content = load_file(file)
    content["logits"][0, 0] += 1.0
    save_file(content, file, metadata={"sha256": "0" * 64})
    assert TeacherCache(teacher, AdKd(), ROWS, LABELS).known == 0
