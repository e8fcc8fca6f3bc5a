"""Own data on the command line: added, listed, read by the other commands, removed after a question."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from distill_core.cli import app
from distill_core.config.run_config import RunConfig
from distill_core.errors import DistillError
from distill_core.runs.events import DataUsed
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from tests.support.stored_runs import FAKE_TOKEN

REVIEWS = "review,stars\n" + "".join(f"film number {at},{('good', 'poor')[at % 2]}\n" for at in range(10))
MAPPED = ("--label", "good=positive", "--label", "poor=negative")


@pytest.fixture
def reviews(tmp_path: Path) -> str:
    path = tmp_path / "reviews.csv"
    path.write_text(REVIEWS)
    return str(path)


def call(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=answer)


def call_json(*arguments: str) -> dict[str, object]:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def error_of(*arguments: str) -> str:
    done = call(*arguments)
    assert isinstance(done.exception, DistillError), done.output
    return str(done.exception)


def test_a_file_is_added_listed_read_and_removed(reviews: str) -> None:
    adding = ("data", "add", reviews, "--name", "Films", *MAPPED, "--label-column", "stars", "--held-out", "0.5")
    added = call_json(*adding)
    assert added["rows"] == {"train": 5, "validation": 5}
    assert str(added["source"]).startswith("own/films-")
    assert call_json(*adding) == added
    assert call_json("data", "list") == [added]
    assert str(added["id"]) in call("data", "list").output
    shown = call_json("examples", "--source", str(added["source"]), "--split", "train")
    assert shown["source"] == "Films (own data, reviews.csv)"
    assert shown["n"] == 5
    assert call("data", "remove", str(added["id"]), answer="n\n").exit_code == 1
    assert call_json("data", "list") == [added]
    asked = call("data", "remove", str(added["id"]), answer="y\n")
    assert "Remove Films (own data, reviews.csv)?" in asked.output
    added = call_json(*adding)
    assert call_json("data", "remove", str(added["source"]), "--yes") == {"id": added["id"]}
    assert call_json("data", "list") == []


def test_columns_are_named_where_they_cannot_be_told(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a one\tother\twhat\nA cat.\tA dog.\t0\nA cat.\tA cat.\t1\n")
    arguments = ("data", "add", str(tmp_path / "pairs.tsv"), "--task", "mrpc", "--label-column", "what")
    added = call_json(*arguments, "--column", "sentence1=other", "--column", "sentence2=a one")
    assert added["mapping"]["columns"] == {"sentence1": "other", "sentence2": "a one"}
    assert added["rows"] == {"train": 1, "validation": 1}


def test_unlabelled_data_says_that_it_cannot_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text\none\ntwo\n")
    done = call("data", "add", str(tmp_path / "texts.csv"))
    assert "has no labels" in " ".join(done.output.split())
    (added,) = call_json("data", "list")
    assert "not trained on" in error_of("distill", "--source", added["source"], "--steps", "1")
    assert Store().runs() == []


def test_texts_on_both_sides_of_a_split_column_are_told(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text,label,split\nfine,1,train\nFine,1,dev\npoor,0,dev\n")
    done = call("data", "add", str(tmp_path / "texts.csv"))
    assert "The texts of 1 of the 2 held-out rows of texts (own data, texts.csv) are also" in " ".join(
        done.output.split()
    )


def test_a_file_name_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")
    Path(file).write_text(REVIEWS)
    assert call_json("data", "add", file, "--label-column", "stars", *MAPPED)["file"] == "caf?.csv"
    assert "caf?.tsv cannot be read" in error_of("data", "add", file.replace(".csv", ".tsv"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "has the label 'good'"),
        (("--label", "good=fine"), "Unknown class 'fine'"),
        (("--label", "good"), "--label is 'good'; wanted two names with an equals sign"),
        (("--column", "sentence=text"), "has no column 'text'; choose among: review, stars"),
        ((*MAPPED, "--held-out", "1"), "held-out share is 1.0"),
        (("--task", "sst3"), "Unknown task 'sst3'"),
    ],
)
def test_what_cannot_be_used_is_refused(reviews: str, arguments: tuple[str, ...], words: str) -> None:
    assert words in error_of("data", "add", reviews, "--label-column", "stars", *arguments)
    assert call_json("data", "list") == []


def test_a_file_that_is_not_there_or_too_large_is_not_read(tmp_path: Path) -> None:
    assert "cannot be read (No such file" in error_of("data", "add", str(tmp_path / "no.csv"))
    with (tmp_path / "large.csv").open("wb") as large:
        large.truncate(60 * 2**20)
    assert "60.0 MB; wanted at most 50 MB" in error_of("data", "add", str(tmp_path / "large.csv"))


def test_data_that_a_run_waits_for_is_not_removed(reviews: str, store: Store) -> None:
    source = str(call_json("data", "add", reviews, "--label-column", "stars", *MAPPED)["source"])
    run_id = enqueue(store, RunConfig(device="cpu", source=source, name="waits"))
    assert store.get(run_id).config.source == source
    assert f"{source} is read by waits" in error_of("data", "remove", source, "--yes")
    store.cancel(run_id)
    assert call("data", "remove", source, "--yes").exit_code == 0
    assert store.get(run_id).config.source == source


def test_runs_show_says_what_a_run_was_trained_on(store: Store) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    assert call_json("runs", "show", run_id)["data"] == []
    store.write(run_id, FAKE_TOKEN, [], None, [DataUsed("train", "Films", 5, "digest")])
    store.end(run_id, FAKE_TOKEN, "finished")
    told = call_json("runs", "show", run_id)["data"]
    assert told == [{"split": "train", "source": "Films", "examples": 5, "fingerprint": "digest"}]
    assert "Films" in call("runs", "show", run_id).output


def test_a_file_without_column_names_is_noticed_or_told(tmp_path: Path) -> None:
    file = tmp_path / "plain.csv"
    file.write_text("a fine film,positive\na poor film,negative\na good film,positive\n")
    assert "The first line was read as a row" in call("data", "add", str(file)).output
    told = call_json("data", "add", str(file), "--header")
    assert told["rows"] == {"train": 1, "validation": 1}
    assert call_json("data", "add", str(file), "--no-header")["rows"] == {"train": 2, "validation": 1}
    assert len(call_json("data", "list")) == 2


def test_a_header_that_looks_like_a_row_is_asked_about_or_believed(tmp_path: Path) -> None:
    file = tmp_path / "years.csv"
    file.write_text("text,label,2019\na fine film,positive,x\na poor film,negative,y\n")
    assert "use --header if it names the columns" in error_of("data", "add", str(file))
    assert call_json("data", "add", str(file), "--label-column", "label")["rows"] == {"train": 1, "validation": 1}
    assert "say --header" not in error_of("data", "add", str(file), "--label-column", "labels")
    column = call_json(
        "data", "add", str(file), "--no-header", "--label-column", "column 2", "--label", "label=positive"
    )
    assert column["rows"] == {"train": 2, "validation": 1}
