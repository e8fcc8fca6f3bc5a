"""Agreement on the probe rows during training."""

from pathlib import Path

import pytest
import torch

from distill_core.models.encoder import embed, logits_from_embeddings, remove_folder
from distill_core.models.evaluation import predict_logits
from distill_core.models.tokenization import Encoded, collate, encode
from distill_core.paths import home
from distill_core.training.agreement_probe import Probe
from tests.support.tiny import tiny_model, tiny_network, tiny_tokenizer

TEXTS = ("a good film", "boring , dull and slow", "great", "never watch the awful story again", "funny music")


def rows() -> list[Encoded]:
    return [encode(tiny_tokenizer(), text) for text in TEXTS]


def test_a_teacher_agrees_with_itself_exactly(tmp_path: Path) -> None:
    teacher = tiny_model(tmp_path / "teacher")
    assert Probe(teacher, rows()).measure(teacher.network) == {
        "agreement/cosine": 1.0,
        "agreement/spearman": 1.0,
        "agreement/signed_cosine": 1.0,
        "agreement/label_loyalty": 1.0,
    }


def test_another_network_agrees_less_and_is_not_changed(tmp_path: Path) -> None:
    teacher, student = tiny_model(tmp_path / "teacher", seed=1), tiny_network(seed=2, dropout=0.5)
    student.train()
    probe = Probe(teacher, rows())
    first = probe.measure(student)
    assert first == probe.measure(student)  # dropout is off while measuring
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    assert first["agreement/signed_cosine"] < 0.9
    assert 0 <= first["agreement/label_loyalty"] <= 1


def test_numbers_equal_those_of_single_sentences(tmp_path: Path) -> None:
    """Gradient × input at the logit of the teacher's class, over the tokens that are not special."""
    teacher, student = tiny_model(tmp_path / "teacher", seed=1), tiny_network(seed=2)
    found: dict[str, list[float]] = {"cosine": [], "signed_cosine": [], "label_loyalty": []}
    for row in rows():
        inputs = collate([row], 0)
        products, classes = [], []
        for network in (teacher.network, student):
            x = embed(network, inputs).detach().requires_grad_()
            scores = logits_from_embeddings(network, x, inputs)[0]
            classes.append(int(scores.argmax()))
            scores[classes[0]].backward()
            assert x.grad is not None
            products.append((x.grad * x).detach()[0, 1:-1])  # without [CLS] and [SEP]
        for name, maps in (
            ("cosine", [p.norm(dim=1) for p in products]),
            ("signed_cosine", [p.sum(1) for p in products]),
        ):
            if len(maps[0]) > 1:
                found[name].append(float(torch.nn.functional.cosine_similarity(*maps, dim=0)))
        found["label_loyalty"].append(float(classes[0] == classes[1]))
    measured = Probe(teacher, rows()).measure(student)
    for name, numbers in found.items():
        assert measured[f"agreement/{name}"] == pytest.approx(sum(numbers) / len(numbers), abs=1e-5), name


def test_batching_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = tiny_model(tmp_path / "teacher", seed=1), tiny_network(seed=2)
    together = Probe(teacher, rows()).measure(student)
    remove_folder(home() / "teacher")
    monkeypatch.setattr("distill_core.training.agreement_probe.BATCH", 1)
    assert Probe(teacher, rows()).measure(student) == pytest.approx(together, abs=1e-5)


def test_the_teachers_maps_are_computed_once_for_all_runs(tmp_path: Path) -> None:
    teacher, student = tiny_model(tmp_path / "teacher", seed=1), tiny_network(seed=2)
    first = Probe(teacher, rows())
    again, fewer = Probe(teacher, rows()), Probe(teacher, rows()[:3])
    assert (first.calls, again.calls, fewer.calls) == (1, 0, 0)
    assert again.measure(student) == first.measure(student)
    other = tiny_model(tmp_path / "other", seed=5)
    assert Probe(other, rows()).calls == 1
    more = [*rows(), encode(tiny_tokenizer(), "dull")]
    assert Probe(teacher, more).calls == 1


def test_the_probe_works_with_memory_for_two_sentences(tmp_path: Path) -> None:
    teacher, student = tiny_model(tmp_path / "teacher", seed=1), tiny_network(seed=2)
    whole = Probe(teacher, rows()).measure(student)
    student.classifier.register_forward_pre_hook(too_many)
    assert Probe(teacher, rows()).measure(student) == pytest.approx(whole, abs=1e-5)
    answered = predict_logits(student, rows(), 0)
    student.classifier._forward_pre_hooks.clear()
    torch.testing.assert_close(answered, predict_logits(student, rows(), 0))


def too_many(_: object, given: tuple[torch.Tensor]) -> None:
    if len(given[0]) > 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
