"""Sources of examples, and what happens if they are missing or damaged."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill_core.data.column_mapping import guess_mapping
from distill_core.data.datasets import describe_source, list_splits, load_split
from distill_core.data.tasks import get_task
from distill_core.data.user_datasets import add_user_dataset
from distill_core.data.user_files import read_table
from distill_core.errors import ConfigError, DataError
from distill_core.settings import Settings, read_settings, write_settings
from tests.support.damaged_json import DAMAGED_JSON


def parquet_folder(path: Path, rows: list[dict[str, object]]) -> Path:
    (path / "sst2").mkdir(parents=True)
    for split in ("train", "validation"):
        pq.write_table(pa.Table.from_pylist(rows), path / "sst2" / f"{split}.parquet")
    return path


def test_without_glue_the_bundled_sample_is_used_and_named() -> None:
    look, train = load_split("sst2", "validation"), load_split("sst2", "train")
    assert len(look.examples) >= 120
    assert len(train.examples) >= 800
    assert "bundled" in look.source
    assert describe_source("sst2") == look.source
    assert {example.label for example in look.examples} == {0, 1}


def test_glue_dir_has_priority_over_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = parquet_folder(tmp_path / "glue", [{"sentence": " one ", "label": 1, "idx": 0}])
    monkeypatch.setenv("GLUE_DIR", str(folder))
    data = load_split("sst2", "train")
    assert [(e.text, e.label, e.text_pair) for e in data.examples] == [("one", 1, None)]
    assert str(folder) in data.source


def test_a_folder_in_the_settings_is_used(tmp_path: Path) -> None:
    folder = parquet_folder(tmp_path / "glue", [{"sentence": "one", "label": 1}])
    write_settings(Settings(glue_dir=str(folder)))
    assert str(folder) in load_split("sst2", "train").source


def test_original_tsv_is_read_unquoted(tmp_path: Path) -> None:
    (tmp_path / "SST-2").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "SST-2" / name).write_text('sentence\tlabel\n"the "best" film\t1\nbad\t0\n', encoding="utf-8")
    data = load_split("sst2", "validation", str(tmp_path))
    assert [(e.text, e.label) for e in data.examples] == [('"the "best" film', 1), ("bad", 0)]


def tsv_folder(path: Path, content: str) -> str:
    (path / "SST-2").mkdir()
    (path / "SST-2" / "train.tsv").write_bytes(content.encode())
    return str(path)


def test_tsv_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    folder = tsv_folder(tmp_path, "sentence\tlabel\r\none\rrow\t1\r\nand\x85one\u2028more\t0\r\n\r\n")
    data = load_split("sst2", "train", folder)
    assert [(e.text, e.label) for e in data.examples] == [("one\rrow", 1), ("and\x85one\u2028more", 0)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("sentence\tlabel\nfine\t1\nfine\t1\t0\n", r"train\.tsv: row 2 has 3 cells, the header line 2; correct"),
        ("sentence\tlabel\tlabel\nfine\t1\t0\n", r"names a column twice \(sentence, label, label\)"),
        ("sentence\tlabel\nfine\t1\nfine\n", r"row 2 has label None"),
        (f"sentence\tlabel\nfine\t{'1' * 5000}\n", r"row 1 has label '1{60,80}; wanted 0 to 1"),
        ("sentence\tlabel\n", "no examples"),
        ("", "no examples"),
    ],
    ids=["more cells", "two labels", "no label", "long label", "only a header", "empty"],
)
def test_bad_tsv_is_named(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_split("sst2", "train", tsv_folder(tmp_path, content))


def test_glue_in_the_hugging_face_cache_is_found_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    folder = tmp_path / "datasets" / "nyu-mll___glue" / "sst2" / "0.0.0" / "abc"
    made = datasets.Dataset.from_list([{"sentence": "kept here", "label": 0, "idx": 0}])
    made.save_to_disk(tmp_path / "made")
    folder.mkdir(parents=True)
    (arrow,) = (tmp_path / "made").glob("*.arrow")
    for split in ("train", "validation"):
        (folder / f"glue-{split}.arrow").write_bytes(arrow.read_bytes())
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    data = load_split("sst2", "train")
    assert data.examples[0].text == "kept here"
    assert "cache" in data.source


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"sentence": "fine", "label": 2}, r"row 2 has label 2; wanted 0 to 1"),
        ({"sentence": "  ", "label": 1}, r"row 2 has no text in sentence"),
        ({"sentence": None, "label": 1}, r"row 2 has no text"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: dict[str, object], words: str) -> None:
    folder = parquet_folder(tmp_path / "glue", [{"sentence": "ok", "label": 0}, row])
    with pytest.raises(DataError, match=words):
        load_split("sst2", "train", str(folder))


def test_missing_and_damaged_sources_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_split("sst2", "train", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no train split of sst2"):
        load_split("sst2", "train", str(tmp_path))
    folder = parquet_folder(tmp_path / "glue", [{"sentence": "ok", "label": 0}])
    (folder / "sst2" / "train.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="not a readable parquet"):
        load_split("sst2", "train", str(folder))


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="sst2"):
        load_split("sst3", "train")
    with pytest.raises(DataError, match="train, validation"):
        load_split("sst2", "test")


def test_samples_are_seeded_and_have_their_own_fingerprint() -> None:
    data = load_split("sst2", "train", "bundled")
    first, again, other = data.sample(50, 1), data.sample(50, 1), data.sample(50, 2)
    assert first == again
    assert len(first.examples) == 50
    assert len({data.fingerprint, first.fingerprint, other.fingerprint}) == 3
    assert data.sample(None, 1) is data


WRONG_SETTINGS = [b'{"glue_dir": 3}', b'{"model_memory_mb": true}', b'{"model_memory_mb": ' + b"1" * 400 + b"}"]


@pytest.mark.parametrize("content", [*DAMAGED_JSON.values(), *WRONG_SETTINGS])
def test_damaged_settings_are_named(own_home: Path, content: bytes) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    (own_home / "settings.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"settings\.json"):
        read_settings()
    (own_home / "settings.json").write_text(json.dumps({}), encoding="utf-8")
    assert read_settings() == Settings()


def test_a_source_lists_its_own_splits(tmp_path: Path) -> None:
    assert list_splits("mnli") == ("validation_matched", "train")  # the sample has one to look at
    assert list_splits("mnli", "hub") == ("validation_matched", "validation_mismatched", "train")
    (tmp_path / "MNLI").mkdir()
    for name in ("train.tsv", "dev_mismatched.tsv"):
        (tmp_path / "MNLI" / name).touch()
    assert list_splits("mnli", str(tmp_path)) == ("validation_mismatched", "train")
    assert list_splits("sst2", str(tmp_path)) == ()


def test_the_splits_of_user_datasets_and_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, splits in (
        (b"text,label\na b,0\nc d,1\n", ("validation", "train")),
        (b"text\na b\nc d\n", ("validation",)),
    ):
        table = read_table("films.csv", content)
        own = add_user_dataset(table, "sst2", guess_mapping(get_task("sst2"), table))
        assert list_splits("sst2", own.source) == splits
        assert [load_split("sst2", split, own.source).labelled for split in splits] == [len(splits) > 1] * len(splits)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    folder = tmp_path / "nyu-mll___glue" / "sst2" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    (folder / "glue-train.arrow").touch()
    assert list_splits("sst2") == ("train",)
    (folder / "glue-validation.arrow").touch()
    assert list_splits("sst2") == ("validation", "train")


def test_missing_and_unknown_splits_are_refused() -> None:
    with pytest.raises(
        DataError, match="The bundled sample has no validation_mismatched; choose one of: validation_matched"
    ):
        load_split("mnli", "validation_mismatched", "bundled")
    with pytest.raises(DataError, match=r"Unknown split 'x{80}' of"):
        load_split("mnli", "x" * 500)
