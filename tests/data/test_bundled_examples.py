"""The example sentences: format, counts, balance and agreement with their generator."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "assets" / "examples" / "sst2.jsonl"
SCRIPT = ROOT / "scripts" / "make_training_examples.py"
GLUE_DIR = os.environ.get("TEST_GLUE_DIR")
KINDS = {
    "plain", "negation", "contrast", "irony", "comparison",
    "long", "short", "misspelt", "neutral-ish", "idiom",
}  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return PATH.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def examples(lines: list[str]) -> list[dict]:
    return [json.loads(line) for line in lines]


def part(examples: list[dict], split: str) -> list[dict]:
    return [example for example in examples if example["split"] == split]


def normal(sentence: str) -> str:
    return re.sub(r"[\W_]", "", sentence.lower())


def test_each_line_has_the_four_fields(examples: list[dict]) -> None:
    for example in examples:
        assert list(example) == ["sentence", "label", "split", "kind"]
        assert isinstance(example["sentence"], str)
        assert type(example["label"]) is int
        assert example["label"] in (0, 1)
        assert example["split"] in ("look", "train")
        assert example["kind"] in KINDS


def test_lines_are_json_with_the_shown_part_first(lines: list[str], examples: list[dict]) -> None:
    assert lines == [json.dumps(example, ensure_ascii=False) for example in examples]
    splits = [example["split"] for example in examples]
    assert splits == sorted(splits)


@pytest.mark.parametrize(("split", "least", "per_kind"), [("look", 140, 10), ("train", 1200, 40)])
def test_counts_and_balance(examples: list[dict], split: str, least: int, per_kind: int) -> None:
    chosen = part(examples, split)
    assert len(chosen) >= least
    assert 0.45 <= sum(example["label"] for example in chosen) / len(chosen) <= 0.55
    counts = Counter((example["kind"], example["label"]) for example in chosen)
    for kind in KINDS:
        assert counts[kind, 0] + counts[kind, 1] >= per_kind
        assert abs(counts[kind, 0] - counts[kind, 1]) <= 2, kind


def test_no_sentence_occurs_twice(examples: list[dict]) -> None:
    look = Counter(normal(example["sentence"]) for example in part(examples, "look"))
    train = Counter(example["sentence"].lower() for example in part(examples, "train"))
    assert max(look.values()) == 1
    assert max(train.values()) == 1
    assert not look.keys() & {normal(sentence) for sentence in train}


def test_sentences_have_no_stray_spaces_or_placeholders(examples: list[dict]) -> None:
    for example in examples:
        sentence = example["sentence"]
        assert sentence == " ".join(sentence.split())
        assert not re.search(r"[{}|\[\]*\t]|a/an", sentence), sentence
        assert not re.search(r" [.,;:!?]", sentence), sentence
        assert not re.search(r"\b[Aa] [aeiou](?!ne-)\w", sentence), sentence


def test_capitals_and_full_stops(examples: list[dict]) -> None:
    for example in examples:
        if example["kind"] != "misspelt":
            assert example["sentence"][0].isupper(), example
            assert example["sentence"][-1] in ".!?", example


def test_lengths_vary(examples: list[dict]) -> None:
    for split in ("look", "train"):
        lengths = [len(example["sentence"].split()) for example in part(examples, split)]
        assert min(lengths) <= 2
        assert max(lengths) >= 30
        assert len(set(lengths)) >= 20
    for example in part(examples, "look"):
        words = len(example["sentence"].split())
        assert example["kind"] != "long" or 30 <= words <= 45, example
        assert example["kind"] != "short" or words <= 3, example


def test_train_vocabulary_is_wide(examples: list[dict]) -> None:
    train = [example for example in part(examples, "train") if example["kind"] != "misspelt"]
    words = Counter(w for e in train for w in set(re.findall(r"[a-zé'-]+", e["sentence"].lower())))
    assert len(words) >= 900


def test_check_accepts_the_file_and_leaves_it_alone() -> None:
    before = PATH.read_bytes()
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert PATH.read_bytes() == before


def test_check_refuses_an_edited_copy_and_writing_repairs_it(tmp_path: Path) -> None:
    """The script finds its file from its own place, so a copied tree tests it safely."""
    script = tmp_path / "scripts" / SCRIPT.name
    copy = tmp_path / "assets" / "examples" / PATH.name
    script.parent.mkdir()
    copy.parent.mkdir(parents=True)
    script.write_bytes(SCRIPT.read_bytes())
    whole = PATH.read_bytes()
    copy.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    stale = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert stale.returncode == 1
    assert "is out of date: run" in stale.stderr
    subprocess.run([sys.executable, script], check=True)
    assert copy.read_bytes() == whole


def test_no_sentence_is_in_sst2(examples: list[dict]) -> None:
    """Optional: TEST_GLUE_DIR is a folder with sst2/train.parquet and sst2/validation.parquet."""
    folder = Path(GLUE_DIR or "") / "sst2"
    files = [folder / "train.parquet", folder / "validation.parquet"]
    if not GLUE_DIR or not all(file.is_file() for file in files):
        pytest.skip("TEST_GLUE_DIR does not point to a folder with SST-2")
    parquet = pytest.importorskip("pyarrow.parquet")
    published: set[str] = set()
    for file in files:
        column = parquet.read_table(file, columns=["sentence"]).column("sentence")
        published.update(map(normal, column.to_pylist()))
    assert len(published) > 50_000
    ours = [e["sentence"] for e in examples if len(e["sentence"].split()) >= 4]
    assert [sentence for sentence in ours if normal(sentence) in published] == []
