"""Labels in another order are told from what a model answers, and weakness is not taken for it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.catalog.catalog import ModelInfo
from distill_core.data.datasets import Dataset, Example
from distill_core.errors import ModelError, NeedsReordering
from distill_core.model_import import label_order
from distill_core.model_import.importer import add_folder
from distill_core.model_import.label_order import assess_answers, label_order_warning
from distill_core.model_import.progress import Finding
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, load_model, logits, save_model
from distill_core.models.tokenization import collate, encode
from tests.support.tiny import tiny_folder, tiny_model
from tests.support.tiny_architectures import family_network
from tests.support.tiny_families import FAMILIES

pytestmark = pytest.mark.usefixtures("shared_bundle")


def without_names(model_id: str, folder: Path, rows: tuple[int, ...]) -> Path:
    """Copy a bundled model, the rows of its classifier in another order and its classes without names."""
    shutil.copytree(open_model(model_id).path, folder)
    tensors = load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][list(rows)].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {str(index): f"LABEL_{index}" for index in range(len(rows))}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "distill.json").unlink()
    return folder


def test_two_swapped_classes_are_noticed_and_refused(tmp_path: Path) -> None:
    swapped = without_names("bundled/sst2-teacher", tmp_path / "swapped", (1, 0))
    doubt = label_order_warning(load_model(swapped), "sst2")
    assert doubt is not None
    assert "if its outputs were positive, negative, it would have 119 (74%)" in doubt
    with pytest.raises(NeedsReordering, match="its labels seem to be in another order"):
        list(add_folder(swapped, "sst2"))
    *events, info = add_folder(swapped, "sst2", reorder=True)
    assert isinstance(info, ModelInfo)
    assert info.id.startswith("converted/swapped-")
    assert info.id.endswith("-sst2")
    warned = [event.words for event in events if isinstance(event, Finding) and event.warning]
    assert warned == ["Its outputs were positive, negative; in the copy: negative, positive."]
    original, copy = open_model("bundled/sst2-teacher"), open_model(info.id, task="sst2")
    assert copy.labels == original.labels
    assert torch.equal(copy.network.classifier.weight, original.network.classifier.weight)
    right = without_names("bundled/sst2-teacher", tmp_path / "right", (0, 1))
    assert label_order_warning(load_model(right), "sst2") is None


def test_names_that_contradict_the_answers_are_told_and_not_asked_about_again(tmp_path: Path) -> None:
    folder = without_names("bundled/sst2-teacher", tmp_path / "m", (0, 1))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {"0": "positive", "1": "negative"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(NeedsReordering):
        list(add_folder(folder, "sst2"))
    with pytest.raises(
        ModelError, match=r"the names of its classes contradict its predictions.* correct id2label"
    ) as told:
        list(add_folder(folder, "sst2", reorder=True))
    assert not isinstance(told.value, NeedsReordering)


def knowing(folder: Path, rows: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """Return a network whose output i is sure of class rows[i], on examples whose first word tells the class."""
    words = ("good", "slow", "bad")
    examples = tuple(Example(at, words[at % 3], "the film", at % 3 if at % 12 else 1) for at in range(72))
    data = Dataset("mnli", "validation_matched", "made up", examples, "made up")
    monkeypatch.setattr(label_order, "load_split", lambda *_: data)
    model = tiny_model(folder, task="mnli")
    network = model.network
    with torch.no_grad():
        inputs = model.tokenizer([*words], ["the film"] * 3, return_tensors="pt")
        pooled = network.bert(**inputs).pooler_output
        wanted = torch.linalg.pinv(pooled) @ torch.eye(3)  # solves pooled @ wanted = 1 for each word's own class
        network.classifier.weight.copy_(wanted.T[list(rows)])
        network.classifier.bias.zero_()
    return model


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        ((0, 1, 2), None),
        ((2, 0, 1), "contradiction, entailment, neutral"),
        ((1, 0, 2), "neutral, entailment, contradiction"),
    ],
)
def test_three_classes_in_any_order(
    rows: tuple[int, int, int], order: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = label_order_warning(knowing(tmp_path / "m", rows, monkeypatch), "mnli")
    if order is None:
        assert doubt is None
    else:
        assert f"if its outputs were {order}, it would have 66 (92%)" in str(doubt)
        assert "as task mnli has them, entailment, neutral, contradiction, or choose" in str(doubt)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_classes_named_in_another_order_are_put_right_in_a_copy(family: str, tmp_path: Path) -> None:
    network = family_network(family, classes=3)
    names = {0: "CONTRADICTION", 1: "entailment", 2: "neutral"}
    network.config.id2label, network.config.label2id = names, {name: index for index, name in names.items()}
    save_model(network, FAMILIES[family].tokenizer_kind.tokenizer(), tmp_path / "m", {})
    (tmp_path / "m" / "distill.json").unlink()
    with pytest.raises(NeedsReordering, match="orders its classes CONTRADICTION, entailment, neutral"):
        list(add_folder(tmp_path / "m", "mnli"))
    *_, info = add_folder(tmp_path / "m", "mnli", reorder=True)
    assert isinstance(info, ModelInfo)
    before, after = load_model(tmp_path / "m"), open_model(info.id, task="mnli")
    assert after.labels == ("entailment", "neutral", "contradiction")
    inputs = collate([encode(before.tokenizer, "the film is good", "bad")], before.pad_id)
    torch.testing.assert_close(logits(after.network, inputs), logits(before.network, inputs)[:, [1, 2, 0]])


def test_a_score_that_runs_the_other_way_is_noticed(tmp_path: Path) -> None:
    model = load_model(without_names("bundled/stsb-teacher", tmp_path / "m", (0,)))
    assert label_order_warning(model, "stsb") is None
    with torch.no_grad():
        model.network.classifier.weight.neg_()
    assert "its score seems to be inverted: correlation" in str(label_order_warning(model, "stsb"))


@pytest.mark.parametrize(
    ("factor", "shift", "words"),
    [
        (1.0, 0.0, None),
        (0.2, 0.0, "Its scores range from 0.02 to 0.96 .* from 0.00 to 5.00: .* task stsb's, 0 to 5"),
        (20.0, 0.0, "Its scores range from 1.64 to 96.17"),
        (1.6, -4.0, "Its scores range from -3.87 to 3.69 .*alpha 1"),
    ],
)
def test_scores_on_another_scale_are_told(factor: float, shift: float, words: str | None, tmp_path: Path) -> None:
    folder = without_names("bundled/stsb-teacher", tmp_path / "m", (0,))
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] *= factor
    tensors["classifier.bias"] = tensors["classifier.bias"] * factor + shift
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told = [one.words for one in add_folder(folder, "stsb") if isinstance(one, Finding) and one.check == "scale"]
    assert len(told) == (words is not None)
    assert re.match(words or "", "".join(told))


@pytest.mark.parametrize("model", ["stsb-teacher", "stsb-kd", "stsb-ad-kd"])
def test_the_bundled_scores_are_on_the_tasks_scale(model: str) -> None:
    assert assess_answers(open_model(f"bundled/{model}"), "stsb").scale is None


@pytest.mark.parametrize("task", ["sst2", "mnli", "stsb"])
@pytest.mark.parametrize("same", [True, False])
def test_a_model_that_knows_nothing_is_weak_and_not_refused(task: str, same: bool, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "m", task=task, seed=3)
    if same:
        with torch.no_grad():
            model.network.classifier.weight.zero_()
    found = assess_answers(model, task)
    assert found.weak
    assert found.doubt is None


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has 2 classes; task mnli has 3"):
        label_order_warning(load_model(tiny_folder(tmp_path / "m")), "mnli")


@pytest.mark.parametrize(("right", "doubtful"), [(36, False), (30, False), (24, False), (22, True), (0, True)])
def test_how_far_below_chance_is_doubtful(right: int, doubtful: bool) -> None:
    gold = [0, 1] * 36
    found = [label if at < right else 1 - label for at, label in enumerate(gold)]
    assert (label_order._judge_classes("m", "rte", gold, found).doubt is not None) == doubtful
