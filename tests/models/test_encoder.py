"""Loading models, refusing damaged ones, and running a network from its embeddings."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.catalog.catalog import find_model
from distill_core.errors import ModelError
from distill_core.models import encoder
from distill_core.models.bundle import open_model
from distill_core.models.encoder import embed, load_model, logits, logits_from_embeddings, read_record, save_model
from distill_core.models.layers import keep_layers
from distill_core.storage.model_folder import check_settings
from tests.support.tiny import WORDS, random_inputs, tiny_folder, tiny_model, tiny_network
from tests.support.tiny_architectures import family_network
from tests.support.tiny_families import FAMILIES


@pytest.mark.parametrize("pair", [False, True])
def test_logits_from_embeddings_equal_the_plain_networks(pair: bool) -> None:
    network, inputs = tiny_network(classes=3), random_inputs((4, 9, 6), pair=pair)
    torch.testing.assert_close(
        logits_from_embeddings(network, embed(network, inputs), inputs), logits(network, inputs), rtol=1e-6, atol=1e-6
    )


def test_running_from_embeddings_does_not_change_the_network() -> None:
    network, inputs = tiny_network(), random_inputs((5,))
    before = {name: id(module) for name, module in network.named_modules()}
    logits_from_embeddings(network, embed(network, inputs), inputs)
    assert {name: id(module) for name, module in network.named_modules()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_keep_layers_takes_the_first_and_leaves_the_teacher() -> None:
    teacher = tiny_network(layers=3)
    student = keep_layers(teacher, 2)
    assert (student.config.num_hidden_layers, len(student.bert.encoder.layer)) == (2, 2)
    assert (teacher.config.num_hidden_layers, len(teacher.bert.encoder.layer)) == (3, 3)
    for ours, theirs in zip(student.bert.encoder.layer, teacher.bert.encoder.layer, strict=False):
        assert torch.equal(ours.output.dense.weight, theirs.output.dense.weight)
    with pytest.raises(ModelError, match="1 to 3 layers, not 4"):
        keep_layers(teacher, 4)


def test_a_saved_model_loads_with_the_same_answers(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "m")
    assert model.labels == ("negative", "positive")
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    again = load_model(tmp_path / "m")
    assert again.fingerprint == model.fingerprint
    inputs = random_inputs((6,))
    assert torch.equal(logits(model.network, inputs), logits(again.network, inputs))


@pytest.mark.parametrize(("given", "names"), [([0, 1], ("0", "1")), ([None, 1.5], ("None", "1.5"))])
def test_class_names_that_are_not_strings_are_converted(
    given: list[object], names: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tiny_folder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(given))}))
    assert open_model(str(folder)).labels == find_model(str(folder)).labels == names


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    assert tiny_model(tmp_path / "a", seed=1).fingerprint != tiny_model(tmp_path / "b", seed=2).fingerprint


def test_changed_weights_are_refused_by_name(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 0xFF
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_model(folder)


def test_a_missing_weight_is_never_initialised_at_random(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "distill.json").unlink()
    with pytest.raises(ModelError, match=r"lacks classifier\.weight"):
        load_model(folder)


def test_a_broken_header_and_a_missing_file_are_named(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    (folder / "distill.json").unlink()
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match=r"m/model\.safetensors is damaged or cannot be read"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        load_model(folder)


@pytest.mark.parametrize("step", ["file_sha256", "read_record"])
def test_a_model_replaced_while_it_is_read_is_never_a_mixture(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, new = tiny_folder(tmp_path / "m", seed=1), tiny_folder(tmp_path / "new", seed=2)
    expected = load_model(new)
    read = getattr(encoder, step)

    def read_then_replace(path: Path) -> object:
        content = read(path)
        if new.exists():
            shutil.rmtree(folder)
            new.rename(folder)
        return content

    monkeypatch.setattr(encoder, step, read_then_replace)
    found = load_model(folder)
    assert found.fingerprint == expected.fingerprint
    assert torch.equal(found.network.classifier.weight, expected.network.classifier.weight)


def test_a_model_that_is_replaced_at_every_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "m")
    numbers = iter(range(100))
    monkeypatch.setattr(encoder, "_inode", lambda _: next(numbers))
    with pytest.raises(ModelError, match="was replaced each time it was read; try again"):
        load_model(folder)


def test_saving_over_a_model_replaces_all_of_it(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", seed=1)
    first, model = read_record(folder), load_model(folder)
    save_model(tiny_network(seed=2), model.tokenizer, folder, {"task": "sst2", "step": 7})
    assert read_record(folder)["step"] == 7
    assert read_record(folder)["weights_sha256"] != first["weights_sha256"]
    assert [child.name for child in tmp_path.iterdir()] == ["m"]
    (folder / "distill.json").write_text(json.dumps([1])[:-1], encoding="utf-8")
    with pytest.raises(ModelError, match=r"distill\.json is damaged"):
        load_model(folder)


def test_a_config_of_fewer_layers_than_the_weights_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", layers=1)
    deeper = tiny_folder(tmp_path / "deeper", layers=2)
    save_file(load_file(deeper / "model.safetensors"), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "distill.json").unlink()
    with pytest.raises(ModelError, match="fewer layers than its weights"):
        load_model(folder)


@pytest.mark.parametrize("longest", ["512", True, -1, 0, float("nan"), [64]])
def test_an_invalid_longest_input_is_refused(longest: object, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": longest}))
    with pytest.raises(ModelError, match=r"its tokenizer_config\.json sets model_max_length to .*; wanted a number"):
        load_model(folder)


@pytest.mark.parametrize("longest", [None, 1e30])
def test_a_tokenizer_without_a_longest_input_uses_the_networks(longest: object, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": longest}))
    assert load_model(folder).max_length == 64


@pytest.mark.parametrize(("chunk", "fits"), [(7, False), ("7", False), (0, True), (None, True)])
def test_a_config_with_chunked_feed_forward_layers_is_refused(chunk: object, fits: bool, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"chunk_size_feed_forward": chunk}))
    if fits:
        assert check_settings(folder, "m") is None
    else:
        with pytest.raises(ModelError, match=r"its config\.json sets chunk_size_feed_forward to .*: set it to 0"):
            load_model(folder)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing, and so is vocab\.txt"):
        load_model(folder)


def test_an_old_byte_pair_vocabulary_is_accepted(tmp_path: Path) -> None:
    network, tokenizer = family_network("roberta"), FAMILIES["roberta"].tokenizer_kind.tokenizer()
    save_model(network, tokenizer, tmp_path / "m", {})
    new = load_model(tmp_path / "m")
    made = json.loads((tmp_path / "m" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    for file in (tmp_path / "m").glob("tokenizer*"):
        file.unlink()
    (tmp_path / "m" / "vocab.json").write_text(json.dumps(made["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in made["merges"])
    (tmp_path / "m" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    old = load_model(tmp_path / "m")
    assert old.tokenizer("the film is great")["input_ids"] == new.tokenizer("the film is great")["input_ids"]
    assert old.fingerprint != new.fingerprint


def test_a_tokenizer_of_another_network_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "vocab.txt").write_text("\n".join([*WORDS, *map(str, range(50))]) + "\n")
    with pytest.raises(ModelError, match=r"its tokenizer \(88 tokens\) is not one for its network \(38 tokens\)"):
        load_model(folder)
