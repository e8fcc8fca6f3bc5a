"""Models from folders: checked one thing after another, the cause named, nothing changed in the user's folder."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.catalog import catalog
from distill_core.catalog.catalog import ModelInfo, find_model, list_models
from distill_core.catalog.user_models import list_user_models, remove_user_model
from distill_core.errors import ConfigError, ModelError, NeedsConversion
from distill_core.model_import.importer import add_folder
from distill_core.model_import.progress import Finding
from distill_core.models.bundle import open_model
from distill_core.models.encoder import load_model
from distill_core.storage.model_folder import read_json
from tests.support.pickles import RunsCommand, as_pickle
from tests.support.tiny import WORDS, tiny_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as a stranger would bring it: no record of ours."""
    made = tiny_folder(tmp_path / "mine")
    (made / "distill.json").unlink()
    return made


def change_config(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def change_tokenizer(folder: Path, **values: object) -> None:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(read_json(file) | values))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def plain_vocabulary(folder: Path) -> None:
    """Leave only the tokenizer files of years ago."""
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")


def test_a_folder_is_used_where_it_lies(folder: Path, own_home: Path) -> None:
    before = sorted(file.name for file in folder.iterdir())
    *findings, info = add_folder(str(folder), "sst2")
    assert isinstance(info, ModelInfo)
    assert (info.id, info.kind, info.task, info.title) == (str(folder), "folder", "sst2", "mine")
    assert [one.check for one in findings if isinstance(one, Finding)] == [
        "files", "weights", "tokenizer", "architecture", "head", "labels", "classifier", "loads", "tokens", "answers",
    ]  # fmt: skip
    assert info in list_models()
    assert find_model(info.id) == info == find_model(f"{folder}/../{folder.name}")
    assert open_model(info.id).labels == ("negative", "positive")
    remove_user_model(info.id)
    assert sorted(file.name for file in folder.iterdir()) == before
    assert find_model(str(folder)).task == ""
    assert not (own_home / "models" / "converted").exists()


def test_a_folder_that_vanished_is_left_out_and_told_when_asked_for(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    list(add_folder(folder, "sst2"))
    shutil.rmtree(folder)
    assert str(folder) not in [info.id for info in list_models()]
    assert "does not exist any more; add the model again, or remove it" in caplog.text
    with pytest.raises(ModelError, match=r"its folder .* does not exist any more"):
        find_model(str(folder))


def test_a_damaged_list_does_not_take_the_other_models_from_sight(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "added.json").write_text("nonsense")
    assert len(list_models()) == len(catalog.bundled_models())


def test_a_tokenizer_of_years_ago_is_enough(folder: Path) -> None:
    new = load_model(folder)
    plain_vocabulary(folder)
    *_, info = add_folder(folder, "sst2")
    old = open_model(info.id)
    text = "The film was never boring, but awful!"
    assert old.tokenizer(text)["input_ids"] == new.tokenizer(text)["input_ids"]
    first = old.fingerprint
    (folder / "vocab.txt").write_text("\n".join([*WORDS[:-1], "other"]) + "\n")
    assert load_model(folder).fingerprint != first


FAULTS: list[tuple[Callable[[Path], object], str, str]] = [
    (lambda f: (f / "tokenizer.json").unlink(), "tokenizer", r"tokenizer\.json is missing, and so is vocab\.txt, or"),
    (
        lambda f: (f / "tokenizer.json").rename(f / "spiece.model"), "tokenizer",
        r"only as spiece\.model, which needs the package sentencepiece",
    ),
    (lambda f: (f / "model.safetensors").unlink(), "weights", r"has no weights: model\.safetensors is missing"),
    (
        lambda f: (f / "model.safetensors").rename(f / "tf_model.h5"), "weights",
        r"only for TensorFlow; wanted model\.safetensors or pytorch_model\.bin",
    ),
    (
        lambda f: (f / "model.safetensors").rename(f / "model.safetensors.index.json"), "weights",
        r"in several files; wanted one .* max_shard_size",
    ),
    (as_pickle, "weights", r"only as pytorch_model\.bin, a format that can run code\. With your consent"),
    (
        lambda f: change_config(f, model_type="gpt2"), "architecture",
        "of type 'gpt2', which is not supported; choose a model of type albert, bert",
    ),
    (
        lambda f: change_config(f, model_type="mine", auto_map={"AutoConfig": "x.Y"}), "architecture",
        "it needs its own code, which is never run",
    ),
    (lambda f: (f / "config.json").write_text("{"), "architecture", r"config\.json is damaged"),
    (
        lambda f: change_config(f, chunk_size_feed_forward=7), "settings",
        "sets chunk_size_feed_forward to 7, .* set it to 0, the answers stay the same",
    ),
    (
        lambda f: (f / "tokenizer_config.json").write_text('{"model_max_length": "abc"}'), "settings",
        "sets model_max_length to 'abc'; wanted a number of tokens, such as 512",
    ),
    (lambda f: change_config(f, architectures=5), "head", r"its config is damaged \(architectures is 5\)"),
    (lambda f: change_config(f, architectures=["BertForMaskedLM"]), "head", "a BertForMaskedLM, .* fine-tune it first"),
    (lambda f: change_config(f, id2label={"0": "x", "1": "y", "2": "z"}), "labels", "has 3 classes; task sst2 has 2"),
    (lambda f: change_config(f, id2label={"zero": "x"}), "labels", r"config\.json is damaged \(id2label"),
    (
        lambda f: change_config(f, id2label={"0": "Positive", "1": "Negative"}), "labels",
        "orders its classes Positive, Negative; task sst2 orders them negative, positive",
    ),
    (
        lambda f: change_weights(f, lambda t: [t.pop(name) for name in list(t) if name.startswith("classifier")]),
        "classifier", "no classifier among its .* tensors, .* fine-tune it first",
    ),
    (
        lambda f: change_weights(f, lambda t: t.pop("bert.pooler.dense.bias")), "loads",
        r"lacks bert\.pooler\.dense\.bias; save the model again with all its weights",
    ),
    (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 40), "classifier", r"model\.safetensors is damaged"),
    (
        lambda f: change_weights(f, lambda t: t["classifier.bias"].fill_(float("nan"))), "answers",
        "logits are not finite",
    ),
    (lambda f: (f / "tokenizer.json").write_text("{}"), "loads", "its tokenizer in .* cannot be loaded"),
    (
        lambda f: change_tokenizer(f, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "loads",
        r"its tokenizer in .* cannot be loaded \(Precompiled",
    ),
    (
        lambda f: change_tokenizer(f, model=read_json(f / "tokenizer.json")["model"] | {"unk_token": "[NO]"}), "tokens",
        r"tokenizer fails at ordinary texts \(.*Missing \[UNK\].*\); repair the tokenizer's files",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "check", "words"), FAULTS)
def test_each_fault_is_the_last_finding_and_named(
    spoil: Callable[[Path], object], check: str, words: str, folder: Path
) -> None:
    spoil(folder)
    findings: list[Finding] = []
    with pytest.raises(ModelError, match=words) as told:
        findings.extend(event for event in add_folder(folder, "sst2") if isinstance(event, Finding))
    assert list_user_models() == []
    assert isinstance(told.value, NeedsConversion) == (spoil is as_pickle)
    last = findings[-1]
    assert (last.check, last.passed, last.words) == (check, False, str(told.value))


@pytest.mark.parametrize(
    ("values", "check", "words"),
    [
        ({"auto_map": {"AutoConfig": "x.Y"}}, "own code", "its own code, which is not run"),
        ({"id2label": {"0": "bad", "1": "good"}}, "label names", "bad, good, read as negative, positive"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None, ""),
        ({"id2label": None}, None, ""),
        ({"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}, None, ""),
        ({"architectures": None}, None, ""),
    ],
)
def test_what_can_be_used_with_a_warning(
    values: dict[str, object], check: str | None, words: str, folder: Path
) -> None:
    change_config(folder, **values)
    *events, info = add_folder(folder, "sst2")
    warnings = {one.check: one.words for one in events if isinstance(one, Finding) and one.warning}
    assert isinstance(info, ModelInfo)
    found = set(warnings) - {"answers", "tokens"}  # a random model is a weak one, and reads other words
    assert found == ({check} if check else set())
    assert words in warnings.get(check or "", "")


def test_a_regression_takes_one_output(tmp_path: Path) -> None:
    *_, info = add_folder(tiny_folder(tmp_path / "m", task="stsb"), "stsb")
    assert isinstance(info, ModelInfo)
    remove_user_model(info.id)
    with pytest.raises(ModelError, match="has 1 classes; task rte has 2"):
        list(add_folder(tmp_path / "m", "rte"))


def test_what_is_no_folder_of_a_model_is_told_by_what_is_there(folder: Path, tmp_path: Path) -> None:
    for place, words in (
        (tmp_path / "nowhere", "nowhere' does not exist"),
        (tmp_path / ("a" * 300), r"a' cannot be read \(.*too long"),
        (folder / "config.json", r"config\.json' is a file, not a folder"),
        (tmp_path, r"' is a folder without config\.json"),
    ):
        with pytest.raises(
            ModelError, match=rf"{words}.*; choose a folder with a model's config\.json, weights and token"
        ):
            list(add_folder(place, "sst2"))
    (folder / "config.json").unlink()
    with pytest.raises(
        ModelError, match=r"mine' has the weights \(model\.safetensors\), but lacks config\.json; choose"
    ):
        list(add_folder(folder, "sst2"))
    as_pickle(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"\(pytorch_model\.bin\), but lacks config\.json and tokenizer files \("):
        list(add_folder(folder, "sst2"))


def test_an_unknown_task_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown task 'sst3'"):
        list(add_folder(folder, "sst3"))


def test_a_pickle_becomes_a_copy_of_the_apps_own(folder: Path, own_home: Path) -> None:
    before = load_model(folder)
    as_pickle(folder)
    plain_vocabulary(folder)
    *_, info = add_folder(folder, "sst2", convert=True)
    assert isinstance(info, ModelInfo)
    assert info.id.startswith("converted/mine-")
    assert (info.kind, info.path.parent) == ("converted", own_home / "models" / "converted")
    assert info.origin == f"converted from {folder}"
    assert sorted(file.name for file in info.path.iterdir()) == [
        "config.json", "distill.json", "model.safetensors", "vocab.txt",
    ]  # fmt: skip
    after = open_model(info.id, task="sst2")
    for name, tensor in before.network.state_dict().items():
        assert torch.equal(tensor, after.network.state_dict()[name])
    assert not any((own_home / "models" / "staging").iterdir())
    remove_user_model(info.id)
    assert not info.path.exists()
    assert (folder / "pytorch_model.bin").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_copy_that_cannot_be_listed_is_not_kept(
    there: bool, folder: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_pickle(folder)
    if there:
        list(add_folder(folder, "sst2", convert=True))
    replace = Path.replace

    def full(part: Path, target: Path) -> Path:
        if target.name == "added.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ModelError, match=r"added\.json cannot be written .*No space left"):
        list(add_folder(folder, "sst2", convert=True))
    assert len(list((own_home / "models" / "converted").iterdir())) == len(list_user_models()) == there


def test_a_mended_config_makes_another_copy(folder: Path) -> None:
    as_pickle(folder)
    copies = []
    for act in ("relu", "gelu", "gelu"):
        change_config(folder, hidden_act=act)
        *_, info = add_folder(folder, "sst2", convert=True)
        assert isinstance(info, ModelInfo)
        assert open_model(info.id).network.config.hidden_act == act
        copies.append(info.id)
    assert (len(set(copies)), copies[1]) == (2, copies[2])


def test_the_same_model_for_a_second_task_is_refused_before_it_is_looked_at(folder: Path) -> None:
    change_config(folder, id2label=None)
    list(add_folder(folder, "sst2"))
    with pytest.raises(ModelError, match="is already added, for task sst2"):
        next(add_folder(folder, "rte"))
    list(add_folder(folder, "sst2"))
    assert [one.task for one in list_user_models()] == ["sst2"]


def test_what_kills_left_is_swept_up_and_hinders_nothing(folder: Path, own_home: Path) -> None:
    as_pickle(folder)
    models = own_home / "models"
    for place in ("converted/dead.1234abcd.old", "converted/going.1234abcd.old", "staging/dead"):
        (models / place).mkdir(parents=True)
    (models / "staging" / "a file").write_text("x")
    for place in ("converted/dead.1234abcd.old", "staging/dead", "staging/a file"):
        os.utime(models / place, (1, 1))
    list(add_folder(folder, "sst2", convert=True))
    assert [path.name for path in models.glob("*/*.old")] == ["going.1234abcd.old"]
    assert not any((models / "staging").iterdir())


def test_a_pickle_that_would_run_a_command_is_refused_and_leaves_nothing(folder: Path, own_home: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": RunsCommand(f"touch {own_home / 'ran'}")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"asks for posix\.system"):
        list(add_folder(folder, "sst2", convert=True))
    assert list_user_models() == []
    assert [file.name for file in own_home.rglob("*") if file.is_file()] == []


def test_it_is_told_whether_a_model_reads_the_bundled_models_tokens(folder: Path, tmp_path: Path) -> None:
    same = tmp_path / "same"
    shutil.copytree(open_model("bundled/sst2-kd").path, same)
    for path, warned in ((folder, True), (same, False)):
        (found,) = [one for one in add_folder(path, "sst2") if isinstance(one, Finding) and one.check == "tokens"]
        assert (found.passed, found.warning) == (True, warned)
        assert ("compared with them by words" in found.words) == warned
