"""Only the files a fingerprint is made of decide what a model answers; a folder that means others is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from distill_core.errors import ModelError
from distill_core.model_import.importer import add_folder
from distill_core.model_import.progress import Finding
from distill_core.models.encoder import load_model, logits
from tests.support.tiny import random_inputs, tiny_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tiny_folder(tmp_path / "m", seed=1)
    (made / "distill.json").unlink()
    return made


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("config.json", {"transformers_weights": "other.safetensors"}, "sets transformers_weights to 'other"),
        ("config.json", {"transformers_weights": "adapter_model.bin"}, "sets transformers_weights to 'adapter"),
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}, "sets configuration_files to"),
        ("config.json", {"quantization_config": {"quant_method": "fp8"}}, "sets quantization_config to .* save the"),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}, "sets fast_tokenizer_files to"),
    ],
)
def test_a_setting_that_makes_other_files_decide_is_refused(
    file: str, values: dict[str, object], words: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copy(tiny_folder(tmp_path / "other", seed=2) / "model.safetensors", folder / "other.safetensors")
    change(folder / file, **values)
    with pytest.raises(ModelError, match=words):
        load_model(folder)
    findings: list[Finding] = []
    with pytest.raises(ModelError, match=words):
        findings.extend(event for event in add_folder(folder, "sst2") if isinstance(event, Finding))
    assert (findings[-1].check, findings[-1].passed) == ("settings", False)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"])
def test_an_adapter_beside_the_weights_is_refused(name: str, folder: Path) -> None:
    (folder / name).write_text("{}")
    with pytest.raises(ModelError, match=rf"has an adapter \({name}\), so model\.safetensors alone is not the model"):
        load_model(folder)
    with pytest.raises(ModelError, match="has an adapter"):
        list(add_folder(folder, "sst2"))


def test_what_else_lies_in_a_folder_decides_nothing(folder: Path, tmp_path: Path) -> None:
    before = load_model(folder)
    other = tiny_folder(tmp_path / "other", seed=2)
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    good, bad = vocabulary["model"]["vocab"]["good"], vocabulary["model"]["vocab"]["bad"]
    vocabulary["model"]["vocab"] |= {"good": bad, "bad": good}
    (tmp_path / "swapped.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    change(folder / "tokenizer_config.json", tokenizer_file=str(tmp_path / "swapped.json"), vocab_file="/nowhere")
    for name in ("model-00001-of-00002.safetensors", "pytorch_model.bin", "m.gguf", "tokenizer.model"):
        shutil.copy(other / "model.safetensors", folder / name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": {"classifier.weight": "model-00001-of-00002.safetensors"}})
    )
    after = load_model(folder)
    assert after.tokenizer("good bad")["input_ids"] == before.tokenizer("good bad")["input_ids"]
    assert torch.equal(logits(after.network, random_inputs((6,))), logits(before.network, random_inputs((6,))))


@pytest.mark.parametrize("setting", ["_attn_implementation", "attn_implementation"])
@pytest.mark.parametrize("value", ["flash_attention_2", "kernels-community/flash-attn"])
def test_a_config_does_not_choose_the_code_of_attention(setting: str, value: str, folder: Path) -> None:
    change(folder / "config.json", **{setting: value})
    assert load_model(folder).network.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hidden_size": 20000}, r"its config describes [\d,]+ weights, model\.safetensors has [\d,]+; take both from"),
        ({"num_hidden_layers": 3000}, "its config describes 3000 layers, its weights are 41 tensors"),
        ({"num_labels": 10**7, "id2label": None}, "describes 10,000,000 classes; wanted at most 1,000"),
        ({"num_labels": -1, "id2label": None}, "num_labels is -1"),
        ({"vocab_size": 2 * 10**9}, r"its config describes [\d,]+ weights"),
        ({"max_position_embeddings": 10**12}, r"its config describes [\d,]+ weights"),
    ],
)
def test_a_config_of_a_far_larger_network_takes_no_memory(
    values: dict[str, object], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder / "config.json", **values)
    monkeypatch.setattr(
        "distill_core.models.encoder.AutoModelForSequenceClassification.from_pretrained",
        lambda *_, **__: pytest.fail("began"),
    )
    with pytest.raises(ModelError, match=words):
        load_model(folder)
