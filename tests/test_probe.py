"""Agreement on the probe rows while training."""

from pathlib import Path

import pytest

from distill_core.encoding import Encoded, encode
from distill_core.probe import Probe
from tests.tiny import tiny_model, tiny_network, tiny_tokenizer

TEXTS = ("a good film", "boring , dull and slow", "great", "never watch the awful story again", "funny music")


def rows() -> list[Encoded]:
    return [encode(tiny_tokenizer(), text) for text in TEXTS]


def test_a_teacher_agrees_with_itself_exactly(tmp_path: Path) -> None:
    teacher = tiny_model(tmp_path / "teacher").network
    assert Probe(teacher, rows(), 0).measure(teacher) == {
        "agreement/cosine": 1.0,
        "agreement/spearman": 1.0,
        "agreement/signed_cosine": 1.0,
        "agreement/label_loyalty": 1.0,
    }


def test_another_network_agrees_less_and_is_left_as_found(tmp_path: Path) -> None:
    teacher, student = tiny_model(tmp_path / "teacher", seed=1).network, tiny_network(seed=2, dropout=0.5)
    student.train()
    probe = Probe(teacher, rows(), 0)
    first = probe.measure(student)
    assert first == probe.measure(student)  # dropout is off while measuring
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    assert first["agreement/signed_cosine"] < 0.9
    assert 0 <= first["agreement/label_loyalty"] <= 1


def test_batching_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = tiny_model(tmp_path / "teacher", seed=1).network, tiny_network(seed=2)
    together = Probe(teacher, rows(), 0).measure(student)
    monkeypatch.setattr("distill_core.probe.BATCH", 1)
    assert Probe(teacher, rows(), 0).measure(student) == pytest.approx(together, abs=1e-5)
