"""Which models there are, found without loading any; see also test_bundle.py."""

import json
from pathlib import Path

import pytest

from distill_core.catalog import catalog
from distill_core.catalog.catalog import find_model
from distill_core.catalog.compatibility import find_teacher
from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, ModelError
from distill_core.models.bundle import unpack
from distill_core.models.encoder import load_model
from distill_core.paths import run_folder
from distill_core.storage.checkpoints import BEST, LAST, RECORD
from tests.support.tiny import tiny_folder


def test_a_teacher_with_fewer_layers_than_the_student_is_refused() -> None:
    assert find_teacher(RunConfig(student_layers=6)).layers == 6
    with pytest.raises(ModelError, match=r"\(student_layers\) is 7; the teacher bundled/sst2-teacher has 6 layers"):
        find_teacher(RunConfig(student_layers=7))
    with pytest.raises(ModelError, match="Unknown model 'bundled/nope'"):
        find_teacher(RunConfig(teacher="bundled/nope"))


@pytest.mark.parametrize(("config", "fits"), [({"num_hidden_layers": 2}, False), ({}, True)])
def test_a_folder_is_judged_by_its_config_where_that_says(config: dict[str, int], fits: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = RunConfig(teacher=str(tmp_path), student_layers=3)
    if fits:
        assert find_teacher(run).path == tmp_path
    else:
        with pytest.raises(ModelError, match="has 2 layers: use 1 to 2"):
            find_teacher(run)


def test_a_student_whose_checkpoint_is_just_being_replaced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = run_folder("one") / "student.7.old"
    aside.mkdir(parents=True)
    (aside / "config.json").write_text("{}")
    monkeypatch.setattr(catalog.time, "sleep", lambda _: aside.rename(run_folder("one") / "student"))
    assert find_model("run/one").path == run_folder("one") / "student"


def test_a_run_killed_before_its_last_student_was_kept_as_its_best_has_the_last_as_its_best() -> None:
    folder = run_folder("one")
    for kept, step in ((BEST, 20), (LAST, 40)):
        record = tiny_folder(folder / kept) / RECORD
        record.write_text(json.dumps(json.loads(record.read_text()) | {"step": step, "best": step}))
    found = find_model(f"run/one/{BEST}")
    assert (found.path, found.title.split(", ")[-1]) == (folder / LAST, "best at step 40")
    assert found in catalog.list_models()
    (folder / LAST / RECORD).write_text('{"step": 60, "best": 20}')
    assert find_model(f"run/one/{BEST}").path == folder / BEST


def test_models_are_filtered_by_text_task_and_kind() -> None:
    tiny_folder(run_folder("one") / LAST)
    models = catalog.list_models()
    assert catalog.filter_models(models) == models
    assert [model.id for model in catalog.filter_models(models, kind="run")] == ["run/one"]
    teachers = catalog.filter_models(models, "TEACHER", "sst2", "bundled")
    assert [model.id for model in teachers] == ["bundled/sst2-teacher"]
    assert catalog.filter_models(models, "teacher", "cola", "run") == []


@pytest.mark.parametrize("name", ["a" * 300, "nope", "\0", "."])
def test_a_run_that_cannot_be_is_an_unknown_model(name: str) -> None:
    run_folder("one").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"Unknown model 'run/.*; choose one of: bundled/"):
        find_model(f"run/{name}")


def test_a_folder_is_described_from_its_headers_alone(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m", task="mnli")
    info, network = find_model(str(folder)), load_model(folder).network
    assert info.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert (info.architecture, info.labels) == ("bert", ("entailment", "neutral", "contradiction"))
    assert info.size == sum(file.stat().st_size for file in folder.iterdir())
    assert (info.kind, info.origin, info.task) == ("folder", "your folder", "mnli")


def test_a_bundled_model_is_described_before_it_is_unpacked() -> None:
    info = find_model("bundled/stsb-kd")
    assert (info.architecture, info.labels) == ("bert", ("similarity",))
    assert info.origin == "bundled with the app"
    packed = info.size
    assert 1_000_000 < packed < 2_000_000, "what it adds to the bundle"
    assert unpack(info).is_dir()
    assert info.size > 10 * packed


def test_classes_are_named_as_transformers_would(tmp_path: Path) -> None:
    for config, names in (
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert find_model(str(tmp_path)).labels == names


def test_a_damaged_header_is_named_and_its_student_left_out_of_the_list(caplog: pytest.LogCaptureFixture) -> None:
    folder = tiny_folder(run_folder("one") / "student")
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cannot be read"):
        find_model("run/one")
    assert "run/one" not in [info.id for info in catalog.list_models()]
    assert "skipped in the list" in caplog.text


DEEP = b"[" * 200_000


@pytest.mark.parametrize(
    "header",
    [
        DEEP,
        b"null",
        b"[1]",
        b'{"a": {"dtype": "F32", "shape": [Infinity]}}',
        b'{"a": {"dtype": "F32", "shape": [-5]}}',
        b'{"a": {"dtype": "F32", "shape": [true]}}',
        b'{"a": {"dtype": "F32", "shape": "12"}}',
        b'{"a": {"dtype": "F32", "shape": [1%s]}}' % (b"0" * 400),
        b'{"a": {"dtype": "F32", "shape": [1%s]}}' % (b"0" * 5000),
        b'{"a": {"dtype": "F32", "shape": [1000, 1000]}}',
    ],
    ids=lambda header: header[:50].decode(),
)
def test_a_header_that_cannot_be_is_told_and_hides_no_other_model(header: bytes) -> None:
    folder = tiny_folder(run_folder("one") / "student")
    record = json.loads((folder / "distill.json").read_text())
    (folder / "distill.json").write_text(json.dumps(record | {"parameters": 0}))
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cannot be read"):
        find_model("run/one")
    assert len(catalog.list_models()) == len(catalog.bundled_models())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DEEP.decode(), "damaged or cannot be read"),
        ('{"num_hidden_layers": true}', "num_hidden_layers is True"),
        ('{"num_labels": -1}', "num_labels is -1"),
        ('{"num_labels": 10000000}', "describes 10,000,000 classes; wanted at most 1,000"),
        ('{"id2label": ["a", "b"]}', "id2label is"),
        ('{"id2label": "0123"}', "id2label is"),
        ('{"id2label": {"1%s": "a"}}' % ("0" * 5000), "id2label is"),
    ],
    ids=lambda value: value[:40],
)
def test_a_config_that_cannot_be_is_told_and_hides_no_other_model(config: str, words: str) -> None:
    folder = tiny_folder(run_folder("one") / "student")
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match=words):
        find_model("run/one")
    assert len(catalog.list_models()) == len(catalog.bundled_models())


def test_settings_that_others_bound_are_refused_with_their_range(tmp_path: Path) -> None:
    teacher = str(tiny_folder(tmp_path / "m"))
    assert find_teacher(RunConfig(teacher=teacher, student_layers=1, top_k=16)).hidden_size == 16
    with pytest.raises(ConfigError, match=r"is 17; the teacher .* is 16 wide: use 1 to 16, or leave it empty for all"):
        find_teacher(RunConfig(teacher=teacher, student_layers=1, top_k=17))
    find_teacher(RunConfig(teacher=teacher, student_layers=1, top_k=17, method="kd"))  # which does not read it
    few = RunConfig(teacher=teacher, student_layers=1, method="egkd_perturbation", erasures=2, erasures_each_step=3)
    with pytest.raises(ConfigError, match=r"is 3; there are 2 \(erasures\): use 1 to 2"):
        find_teacher(few)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/no/such/folder", "that folder does not exist"),
        ("./nowhere", "that folder does not exist"),
        ("google/nope", "add it on the Models page"),
        ("nope", "choose one of: bundled/"),
        ("bundled/nope", "choose one of: bundled/"),
    ],
)
def test_an_unknown_model_is_told_with_what_to_do(given: str, words: str) -> None:
    with pytest.raises(ModelError) as error:
        find_model(given)
    assert words in str(error.value)
