"""Files of the original archive, each with its own columns and labels, give the rows of the hub. All are invented."""

from pathlib import Path

import pytest

from distill_core.data.datasets import load_split
from distill_core.errors import DataError

FILES = {  # task: (folder, file, content, text, pair, label)
    "cola": ("CoLA", "train.tsv", "xx01\t1\t\tThe cat slept.\nxx01\t0\t*\tCat the slept.\n", "The cat slept.", None, 1),
    "sst2": ("SST-2", "dev.tsv", 'sentence\tlabel\na "fine" film\t1\n', 'a "fine" film', None, 1),
    "mrpc": (
        "MRPC", "dev.tsv",
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t5\t6\tIt rained .\tRain fell .\n",
        "It rained .", "Rain fell .", 1,
    ),
    "qqp": (
        "QQP", "train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tWho am I?\tWhat is it?\t0\n",
        "Who am I?", "What is it?", 0,
    ),
    "stsb": (
        "STS-B", "dev.tsv",
        "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tA man sings.\tA man hums.\t3.250\n",
        "A man sings.", "A man hums.", 3.25,
    ),
    "mnli": (
        "MNLI", "dev_mismatched.tsv",
        "index\tsentence1\tsentence2\tgold_label\n0\tIt rains.\tIt is dry.\tcontradiction\n",
        "It rains.", "It is dry.", 2,
    ),
    "qnli": (
        "QNLI", "dev.tsv", "index\tquestion\tsentence\tlabel\n0\tWho?\tAda did.\tentailment\n", "Who?", "Ada did.", 0,
    ),
    "rte": (
        "RTE", "train.tsv", "index\tsentence1\tsentence2\tlabel\n0\tAda won.\tAda lost.\tnot_entailment\n",
        "Ada won.", "Ada lost.", 1,
    ),
    "wnli": (
        "WNLI", "dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tIt fell on it.\tThe cup fell.\t1\n",
        "It fell on it.", "The cup fell.", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", FILES)
def test_an_original_file_gives_the_rows_of_the_hub(tmp_path: Path, task: str) -> None:
    folder, name, content, text, pair, label = FILES[task]
    (tmp_path / folder).mkdir()
    (tmp_path / folder / name).write_text(content, encoding="utf-8")
    split = name.removesuffix(".tsv").replace("dev", "validation")
    example = load_split(task, split, str(tmp_path)).examples[0]
    assert (example.text, example.text_pair, example.label) == (text, pair, label)


def test_a_byte_order_mark_is_not_part_of_a_column_name(tmp_path: Path) -> None:
    (tmp_path / "MRPC").mkdir()
    (tmp_path / "MRPC" / "dev.tsv").write_bytes(b"\xef\xbb\xbf" + FILES["mrpc"][2].encode())
    assert load_split("mrpc", "validation", str(tmp_path)).examples[0].label == 1


@pytest.mark.parametrize(("whole", "kept"), [(99, True), (98, False)])
def test_a_few_broken_rows_of_an_original_file_are_skipped(tmp_path: Path, whole: int, kept: bool) -> None:
    (tmp_path / "QQP").mkdir()
    header, row = FILES["qqp"][2].splitlines()
    lines = [header, "7\t8\t9\tIs this all?", *[row] * whole]
    (tmp_path / "QQP" / "train.tsv").write_text("\n".join(lines), encoding="utf-8")
    if kept:
        assert len(load_split("qqp", "train", str(tmp_path)).examples) == whole
    else:
        with pytest.raises(DataError, match="row 1"):
            load_split("qqp", "train", str(tmp_path))


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(DataError, match=r"cannot be read.*Permission denied"):
        load_split("cola", "train", str(tmp_path))


@pytest.mark.parametrize(("label", "told"), [("maybe", "'maybe'"), ("7", "wanted 0 to 2"), ("", "''")])
def test_an_unknown_label_is_named_with_its_row(tmp_path: Path, label: str, told: str) -> None:
    (tmp_path / "MNLI").mkdir()
    rows = f"index\tsentence1\tsentence2\tgold_label\n0\tA.\tB.\tneutral\n1\tC.\tD.\t{label}\n"
    (tmp_path / "MNLI" / "dev_matched.tsv").write_text(rows, encoding="utf-8")
    with pytest.raises(DataError, match=f"row 2.*{told}"):
        load_split("mnli", "validation", str(tmp_path))
