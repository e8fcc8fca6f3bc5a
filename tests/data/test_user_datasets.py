"""User datasets: stored completely, found again, split reproducibly, and named if they are missing or damaged."""

import json
import os
import time
from pathlib import Path

import pytest

from distill_core.data.column_mapping import guess_mapping
from distill_core.data.datasets import describe_source, load_split
from distill_core.data.tasks import TASKS
from distill_core.data.user_datasets import (
    UserDataset,
    add_user_dataset,
    find_user_dataset,
    list_user_datasets,
    remove_user_dataset,
)
from distill_core.data.user_files import read_table
from distill_core.errors import ConfigError, DataError
from tests.support.damaged_json import DAMAGED_JSON

REVIEWS = "text,label\n" + "".join(f"film number {at},{at % 2}\n" for at in range(20))


def added(content: str = REVIEWS, task: str = "sst2", file: str = "Reviews.csv", **options: object) -> UserDataset:
    table = read_table(file, content.encode())
    return add_user_dataset(table, task, guess_mapping(TASKS[task], table), **options)


def test_a_dataset_is_read_by_its_id_like_any_source() -> None:
    data = added(name="Film reviews <2>")
    assert data.id.startswith("film-reviews-2-")
    assert data.source == f"own/{data.id}"
    train, look = load_split("sst2", "train", data.source), load_split("sst2", "validation", data.source)
    assert (len(train.examples), len(look.examples)) == (16, 4) == (data.rows["train"], data.rows["validation"])
    texts = {example.text: example.label for part in (train, look) for example in part.examples}
    assert texts == {f"film number {at}": at % 2 for at in range(20)}
    assert describe_source("sst2", data.source) == train.source == "Film reviews <2> (own data, Reviews.csv)"
    assert find_user_dataset(data.id) == find_user_dataset(data.source) == data
    assert list_user_datasets("sst2") == list_user_datasets() == [data]
    assert list_user_datasets("cola") == []


def test_the_same_file_and_mapping_give_one_dataset() -> None:
    first = added()
    assert added() == first
    assert added(held_out=0.5).id != first.id
    assert added(REVIEWS + "one more,1\n").id != first.id
    assert len(list_user_datasets()) == 3


def test_held_out_rows_depend_only_on_the_texts() -> None:
    def held_out(data: UserDataset) -> set[str]:
        return {example.text for example in load_split("sst2", "validation", data.source).examples}

    header, *lines = REVIEWS.splitlines(keepends=True)
    assert held_out(added()) == held_out(added(header + "".join(reversed(lines)), name="other way round"))
    assert len(held_out(added(held_out=0.5))) == 10


def test_equal_texts_are_in_one_split() -> None:
    data = added("text,label\n" + "same,1\n" * 5 + "other,0\nthird,1\n", held_out=0.5)
    sides = [{example.text for example in load_split("sst2", split, data.source).examples}
             for split in ("train", "validation")]  # fmt: skip
    assert sides[0] | sides[1] == {"same", "other", "third"}
    assert not sides[0] & sides[1]


def sides(data: UserDataset) -> list[list[tuple[str, str | None]]]:
    parts = (load_split(data.task, split, data.source).examples for split in ("train", "validation"))
    return [[(example.text, example.text_pair) for example in part] for part in parts]


def test_a_frequent_text_does_not_exceed_the_share() -> None:
    for trial in range(10):
        texts = [f"same {trial}"] * 60 + [f"other {trial} {at}" for at in range(40)]
        data = added("text,label\n" + "".join(f"{text},{at % 2}\n" for at, text in enumerate(texts)))
        assert data.rows == {"train": 80, "validation": 20}
    few = added("text,label\n" + "often,1\n" * 5 + "more,0\n" * 7, held_out=0.1)
    assert few.rows == {"train": 7, "validation": 5}  # the least there can be
    most = added("text,label\na,1\nb,0\nc,0\n", held_out=0.99)
    assert most.rows == {"train": 1, "validation": 2}


def test_texts_that_differ_in_case_or_blanks_are_in_one_split() -> None:
    lines = (f"Film {at},{at % 2}\nfilm\u00a0 {at},{at % 2}\nSTRASSE {at},1\nstraße {at},1\n" for at in range(20))
    train, held_out = sides(added("text,label\n" + "".join(lines)))
    alike = [{" ".join(text.casefold().split()) for text, _ in part} for part in (train, held_out)]
    assert len(held_out) == 16
    assert not alike[0] & alike[1]


@pytest.mark.parametrize(("task", "symmetric"), [("mrpc", True), ("qqp", True), ("stsb", True), ("rte", False)])
def test_swapped_pairs_are_equal_for_a_symmetric_task(task: str, symmetric: bool) -> None:
    names = ",".join(TASKS[task].columns)
    lines = (f"one {at},two {at},1\ntwo {at},one {at},1\n" for at in range(40))
    train, held_out = sides(added(f"{names},label\n" + "".join(lines), task))
    assert TASKS[task].symmetric == symmetric
    assert symmetric != any((second, first) in train for first, second in held_out)


def test_a_split_column_that_repeats_texts_yields_a_warning() -> None:
    lines = "a,1,train\nA ,1,test\nb,0,train\nb,1,dev\nc,0,dev\n"
    data = find_user_dataset(added("text,label,split\n" + lines).id)
    assert data.repeated == 2
    assert data.leakage_warning.startswith(
        "The texts of 2 of the 3 held-out rows of Reviews (own data, Reviews.csv) are also"
    )
    unlabelled = added("text,split\na,train\na,dev\n")
    assert unlabelled.leakage_warning == added().leakage_warning == ""


def test_a_split_column_decides() -> None:
    data = added("text,label,split\na,1,train\nb,0,dev\nc,0,train\n")
    assert data.held_out is None
    assert [example.text for example in load_split("sst2", "train", data.source).examples] == ["a", "c"]
    with pytest.raises(DataError, match=r"Column 'split' of Reviews\.csv has train in every row"):
        added("text,label,split\na,1,train\nb,0,train\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text\na\nb\nc\n", "has no labels: it can be explained, but not trained on"),
        ("text,label\nonly one,1\n", "two labelled rows with different texts"),
        ("text,label\ntwice,1\ntwice,1\n", "two labelled rows with different texts"),
    ],
)
def test_a_dataset_unfit_for_training_can_be_viewed(content: str, words: str) -> None:
    data = added(content)
    look = load_split("sst2", "validation", data.source)
    assert len(look.examples) == content.count("\n") - 1
    assert data.labelled is (look.examples[0].label is not None)
    with pytest.raises(DataError, match=words):
        load_split("sst2", "train", data.source)


def test_scores_and_pairs_are_kept() -> None:
    data = added("sentence1,sentence2,score\nאחד,<b>b</b>,2.5\nc,d,5\n", "stsb")
    examples = [
        example for split in ("train", "validation") for example in load_split("stsb", split, data.source).examples
    ]
    assert {(e.text, e.text_pair, e.label) for e in examples} == {("אחד", "<b>b</b>", 2.5), ("c", "d", 5.0)}


def test_a_task_with_several_evaluation_splits_has_one_here() -> None:
    data = added("premise,hypothesis,label\na,b,neutral\nc,d,0\n", "mnli")
    assert load_split("mnli", "validation_matched", data.source) == load_split("mnli", "validation", data.source)
    with pytest.raises(DataError, match="no validation_mismatched split; choose one of: train, validation"):
        load_split("mnli", "validation_mismatched", data.source)


def test_other_tasks_and_unknown_ids_are_refused_with_the_choices() -> None:
    data = added()
    with pytest.raises(DataError, match="was added for sst2, not for cola"):
        load_split("cola", "train", data.source)
    with pytest.raises(DataError, match=rf"no data set own/gone-12345678.*Choose one of: {data.source}"):
        describe_source("sst2", "own/gone-12345678")
    for nasty in ("own/../runs", "own/", "own/a/b", "own/.hidden"):
        with pytest.raises(DataError, match="is not the ID of a dataset"):
            load_split("sst2", "train", nasty)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_an_invalid_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="held-out share"):
        added(held_out=share)


def test_a_refused_file_leaves_nothing_on_disk(own_home: Path) -> None:
    with pytest.raises(DataError):
        added("text,label\na,1\nb,meh\n")
    assert not (own_home / "data").exists()


def test_a_damaged_dataset_names_the_cause_and_hides_no_other(own_home: Path) -> None:
    whole, cut, broken, gone = (added(name=name) for name in ("whole", "cut", "broken", "gone"))
    (own_home / "data" / cut.id / "train.jsonl").write_text("")
    (own_home / "data" / gone.id / "train.jsonl").unlink()
    (own_home / "data" / broken.id / "meta.json").write_text("{")
    with pytest.raises(
        DataError, match=rf"own/{cut.id} is damaged \(train.jsonl was changed after it was written\). Remove it"
    ):
        load_split("sst2", "train", cut.source)
    with pytest.raises(DataError, match=r"damaged \(train.jsonl cannot be read"):
        load_split("sst2", "train", gone.source)
    with pytest.raises(DataError, match=r"damaged \(meta.json cannot be read"):
        load_split("sst2", "train", broken.source)
    assert {data.id for data in list_user_datasets()} == {whole.id, cut.id, gone.id}
    assert added(name="broken").id == broken.id  # added again, it is whole again
    assert len(load_split("sst2", "train", broken.source).examples) == 16


WRONG_RECORDS: dict[str, object] = {
    "name": 5,
    "mapping": [],
    "labelled": "yes",
    "held_out": "a half",
    "rows": {"train": 1},
    "digests": ["a"],
    "added": "yesterday",
    "repeated": None,
}


@pytest.mark.parametrize("content", [*DAMAGED_JSON.values(), *WRONG_RECORDS, 10**400])
def test_a_damaged_record_hides_no_other_dataset(own_home: Path, content: bytes | str | int) -> None:
    broken, whole = added(name="broken"), added(name="whole")
    path = own_home / "data" / broken.id / "meta.json"
    record = json.loads(path.read_text())
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(json.dumps(record | {content: WRONG_RECORDS[content]}))
    else:
        path.write_text(json.dumps(record | {"added": content}))
    with pytest.raises(DataError, match=r"damaged \(meta.json cannot be read"):
        find_user_dataset(broken.id)
    assert [data.id for data in list_user_datasets()] == [whole.id]


def test_a_partial_folder_is_ignored(own_home: Path) -> None:
    data = added()
    (own_home / "data" / data.id).rename(own_home / "data" / ".part-x")
    (own_home / "data" / "empty").mkdir()
    assert list_user_datasets() == []
    with pytest.raises(DataError, match=r"damaged \(it has no meta.json\)"):
        find_user_dataset("empty")


def test_old_leftovers_of_killed_processes_are_deleted(own_home: Path) -> None:
    for name, age in ((".part-a", 2e5), (".gone-a", 2e5), (".part-b", 60), ("empty", 2e5)):
        (own_home / "data" / name).mkdir(parents=True)
        os.utime(own_home / "data" / name, (time.time() - age,) * 2)
    data = added()
    assert {path.name for path in (own_home / "data").iterdir()} == {".part-b", "empty", data.id}


def test_a_record_of_an_earlier_version_is_read(own_home: Path) -> None:
    data = added()
    path = own_home / "data" / data.id / "meta.json"
    record = json.loads(path.read_text())
    del record["repeated"]
    path.write_text(json.dumps(record))
    assert find_user_dataset(data.id) == data


def test_removing_leaves_nothing(own_home: Path) -> None:
    data = added()
    remove_user_dataset(data.source)
    assert list((own_home / "data").iterdir()) == []
    with pytest.raises(DataError, match="removed, or never added"):
        remove_user_dataset(data.id)


def test_the_record_is_plain_json(own_home: Path) -> None:
    data = added()
    record = json.loads((own_home / "data" / data.id / "meta.json").read_text())
    assert record["mapping"]["columns"] == {"sentence": "text"}
    assert record["rows"] == {"train": 16, "validation": 4}
    assert len(record["fingerprint"]) == 64
