"""The bundled models: unpacked on first use, checked, refused by name when damaged."""

import json
import os
import resource
import shutil
import time
from pathlib import Path

import pytest
import torch

from distill_core.catalog import catalog
from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS
from distill_core.errors import ModelError
from distill_core.models import bundle
from distill_core.models.evaluation import evaluate, predict_logits
from distill_core.storage.model_folder import file_sha256

shared = pytest.mark.usefixtures("shared_bundle")
BUNDLED = ("bundled/sst2-teacher", "bundled/sst2-kd", "bundled/sst2-ad-kd")


def test_a_teacher_comes_first_then_its_students_and_all_are_small_enough() -> None:
    entries = catalog.bundled_models()
    assert next(iter(entries)) == "sst2-teacher"
    kinds: dict[str, list[str]] = {}
    for entry in entries.values():
        kinds.setdefault(entry.task, []).append(entry.name.removeprefix(f"{entry.task}-"))
    assert kinds == {task: ["teacher", "kd", "ad-kd"] for task in TASKS}
    sizes = [file.stat().st_size for file in catalog.BUNDLE.rglob("*.safetensors")]
    assert max(sizes) < 50_000_000
    assert sum(sizes) <= 100_000_000


def test_a_bundled_model_becomes_a_plain_folder_once(own_home: Path) -> None:
    info = catalog.find_model("bundled/sst2-kd")
    assert not info.path.exists()
    model = bundle.open_model(info.id)
    assert own_home in model.path.parents
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in model.path.iterdir()}
    changed = (model.path / "model.safetensors").stat().st_mtime_ns
    assert bundle.open_model(info.id).fingerprint == model.fingerprint
    assert (model.path / "model.safetensors").stat().st_mtime_ns == changed
    assert [folder.name for folder in info.path.parent.iterdir()] == [info.path.name]


@pytest.mark.parametrize("kilobytes", [10, 20_000])
def test_a_full_disk_is_reported_with_the_space_needed_and_leaves_nothing(kilobytes: int) -> None:
    path, limits = catalog.find_model("bundled/sst2-kd").path, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, limits[1]))  # no file may grow beyond
    try:
        with pytest.raises(ModelError, match=rf"{path.name} \(.*\)\. It needs \d+ MB there: free some space, or set"):
            bundle.open_model("bundled/sst2-kd")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(path.parent.iterdir()) == []
    bundle.open_model("bundled/sst2-kd")


def test_a_folder_that_cannot_be_written_is_named(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "models").write_text("")
    with pytest.raises(ModelError, match=r"sst2-kd could not be unpacked into .* set DISTILL_HOME"):
        bundle.open_model("bundled/sst2-kd")


def test_leftovers_of_killed_unpackings_are_deleted_by_the_next(own_home: Path) -> None:
    path = catalog.find_model("bundled/sst2-kd").path
    dead, alive = path.with_name(f"{path.name}.0a1b2c3d.77.part"), path.with_name(f"{path.name}.11223344.78.part")
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("half")
    os.utime(dead, (time.time() - 7200,) * 2)
    bundle.unpack(catalog.find_model("bundled/sst2-kd"))
    assert set((own_home / "models").iterdir()) == {path, alive}


@shared
@pytest.mark.parametrize(("model_id", "layers"), [(BUNDLED[0], 6), (BUNDLED[1], 3), (BUNDLED[2], 3)])
def test_the_manifest_matches_the_models(model_id: str, layers: int) -> None:
    info, model = catalog.find_model(model_id), bundle.open_model(model_id)
    assert info.layers == layers == model.network.config.num_hidden_layers == len(model.network.bert.encoder.layer)
    assert info.parameters == sum(parameter.numel() for parameter in model.network.parameters())
    assert model.labels == ("negative", "positive")


@shared
@pytest.mark.parametrize("model_id", BUNDLED)
def test_bundled_models_classify_sentiment(model_id: str) -> None:
    data = load_split("sst2", "validation", "bundled")
    # Hard on purpose (irony, negation, contrast), so a low bar; chance is 0.5.
    assert evaluate(bundle.open_model(model_id), data)["accuracy"] > 0.6


@shared
def test_all_bundled_models_share_the_teachers_embeddings() -> None:
    tables = [bundle.open_model(model_id).network.bert.embeddings.word_embeddings.weight for model_id in BUNDLED]
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_a_damaged_unpacked_copy_is_refused_until_it_is_deleted() -> None:
    path = bundle.open_model("bundled/sst2-kd").path
    content = bytearray((path / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        bundle.open_model("bundled/sst2-kd")
    bundle.open_model("bundled/sst2-ad-kd")
    shutil.rmtree(path)
    bundle.open_model("bundled/sst2-kd")


def test_a_damaged_bundle_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(catalog.BUNDLE, tmp_path / "models")
    file = tmp_path / "models" / "sst2-kd.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    monkeypatch.setattr(bundle, "BUNDLE", tmp_path / "models")
    with pytest.raises(ModelError, match=r"sst2-kd\.safetensors is damaged"):
        bundle.open_model("bundled/sst2-kd")


@shared
def test_labels_in_another_order_are_detected(tmp_path: Path) -> None:
    shutil.copytree(bundle.open_model("bundled/sst2-kd").path, tmp_path / "swapped")
    config = tmp_path / "swapped" / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content |= {"id2label": {"0": "positive", "1": "negative"}, "label2id": {"positive": 0, "negative": 1}}
    config.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="orders its classes positive, negative"):
        bundle.open_model(str(tmp_path / "swapped"))


@pytest.mark.parametrize("model_id", ["bundled/nope", "run/nope", "run/../..", "", "bundled/"])
def test_unknown_ids_are_refused_with_the_valid_ones(model_id: str) -> None:
    with pytest.raises(ModelError, match="bundled/sst2-teacher"):
        catalog.find_model(model_id)


@shared
def test_predictions_do_not_depend_on_their_batch() -> None:
    model = bundle.open_model("bundled/sst2-kd")
    from distill_core.models.tokenization import encode_all

    rows = encode_all(model.tokenizer, load_split("sst2", "validation", "bundled").examples[:20])
    together = predict_logits(model.network, rows, model.pad_id)
    alone = torch.cat([predict_logits(model.network, [row], model.pad_id) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_two_bits_per_weight_preserve_most_of_a_change() -> None:
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(64, 384, generator=generator) * torch.rand(64, 1, generator=generator)
    codes, scale = bundle.pack_change(change)
    assert (codes.shape, codes.dtype) == ((64, 96), torch.uint8)
    lost = (bundle.unpack_change(codes, scale) - change).square().sum() / change.square().sum()
    assert lost.item() == pytest.approx(0.1175, abs=0.005)  # Max 1960, table I, four levels


def test_packing_by_hand() -> None:
    row = torch.tensor([[-2.0, -0.5, 0.5, 2.0]])
    codes, scale = bundle.pack_change(row)
    assert codes.tolist() == [[0b11_10_01_00]]
    spread = row.std().half().item()
    expected = torch.tensor([[-1.510, -0.4528, 0.4528, 1.510]]) * spread
    torch.testing.assert_close(bundle.unpack_change(codes, scale), expected)
    assert bundle.unpack_change(*bundle.pack_change(torch.zeros(2, 4))).abs().max() == 0


def test_checksums_match_the_files() -> None:
    for entry in catalog.bundled_models().values():
        assert file_sha256(catalog.BUNDLE / entry.file) == entry.sha256
