"""Own data on the pages: a file is looked at, told and kept in a window; then it can be picked, and removed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.config.run_config import RunConfig
from distill_core.data.column_mapping import guess_mapping
from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS
from distill_core.data.user_datasets import UserDataset, add_user_dataset, list_user_datasets
from distill_core.data.user_files import MAX_MEGABYTES, read_table
from distill_core.runs.events import DataUsed
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from pages.components.run import markup
from tests.support.opening import ROOT, open_page
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.tiny import tiny_folder

REVIEWS = "id,review,stars\n" + "".join(f"{at},film number {at},{('pos', 'neg')[at % 2]}\n" for at in range(10))
# The window's content alone, with what it chose.
WINDOW = """
import streamlit as st
from distill_core.data.tasks import get_task
from pages.components.page_frame import errors_shown
from pages.components.dataset_dialog import draw_dataset_dialog

with errors_shown():
    draw_dataset_dialog(get_task(st.session_state["task"]), lambda source: st.session_state.update(chosen=source))
"""


def window(content: bytes | None = None, file: str = "films.csv", task: str = "sst2") -> AppTest:
    page = AppTest.from_string(WINDOW, default_timeout=30)
    page.session_state["task"] = task
    page.run()
    if content is not None:
        page.file_uploader[0].set_value((file, content, "text/csv")).run()
    assert not page.exception
    return page


def messages(page: AppTest) -> str:
    return " ".join(error.value for error in page.error).replace("\\", "")


def box(page: AppTest, label: str) -> Any:
    return next(one for one in page.selectbox if one.label.replace("\\", "") == label)


def kept(content: str = REVIEWS, name: str = "Films", task: str = "sst2") -> UserDataset:
    table = read_table("films.csv", content.encode())
    return add_user_dataset(table, task, guess_mapping(TASKS[task], table), name=name)


# the window ------------------------------------------------------------------------------------


def test_the_common_case_is_one_click() -> None:
    page = window(REVIEWS.encode())
    assert list(page.dataframe[0].value["review"]) == [f"film number {at}" for at in range(5)]
    assert (box(page, "Sentence").value, box(page, "Label").value) == ("review", "stars")
    assert box(page, "“pos” (5) means").value == "positive"
    page.button(key="own.add").click().run()
    assert not page.exception
    (data,) = list_user_datasets("sst2")
    assert page.session_state["chosen"] == data.source
    assert (data.name, data.rows) == ("films", {"train": 8, "validation": 2})


def test_what_was_told_is_what_is_kept() -> None:
    page = window(REVIEWS.replace("neg", "meh").encode())
    assert box(page, "“meh” (5) means").value is None
    page.button(key="own.add").click().run()
    assert "Choose a class for “meh” above" in messages(page)
    assert list_user_datasets() == []
    box(page, "“meh” (5) means").set_value("negative")
    page.text_input[0].set_value("<b>Mine</b>")
    page.number_input[0].set_value(50)
    page.button(key="own.add").click().run()
    (data,) = list_user_datasets()
    assert data.name == "<b>Mine</b>"
    assert data.rows == {"train": 5, "validation": 5}
    assert dict(data.mapping.labels) == {"pos": "positive", "meh": "negative"}


def test_a_file_without_column_names_is_read_from_its_first_line() -> None:
    page = window(b"a fine film,good\na poor film,bad\na good film,good\n")
    assert "The first line is read as data" in " ".join(one.value for one in page.caption)
    assert (box(page, "Sentence").value, box(page, "Label").value) == ("column 1", "column 2")
    page.toggle[0].set_value(True).run()  # the first line does name the columns
    assert box(page, "Sentence").value == "a fine film"
    page.text_input[0].set_value("Mine").run()
    page.toggle[0].set_value(False).run()
    assert page.text_input[0].value == "Mine"
    box(page, "“good” (2) means").set_value("positive")
    box(page, "“bad” (1) means").set_value("negative")
    page.button(key="own.add").click().run()
    assert sum(list_user_datasets()[0].rows.values()) == 3


def test_the_first_line_can_be_said_to_be_a_row_where_it_cannot_name_columns() -> None:
    page = window(b"same text,same text,1\na b,b c,0\n", task="mrpc")
    page.toggle[0].set_value(True).run()
    assert "the header line names 'same text' twice" in messages(page)
    page.toggle[0].set_value(False).run()
    assert not page.error
    assert box(page, "Label").value == "column 3"


def test_pairs_scores_and_a_column_of_splits() -> None:
    content = b"a,b,score,part\none,two,2.5,train\nthree,four,5,dev\n"
    page = window(content, task="stsb")
    assert (box(page, "First sentence").value, box(page, "Second sentence").value) == ("a", "b")
    assert box(page, "Similarity, 0 to 5").value == "score"
    assert box(page, "Held out for validation").value == "part"
    page.button(key="own.add").click().run()
    assert list_user_datasets("stsb")[0].rows == {"train": 1, "validation": 1}


def test_texts_on_both_sides_of_a_split_column_are_told() -> None:
    page = window(b"text,label,split\nfine,1,train\nFine,1,dev\npoor,0,dev\n")
    page.button(key="own.add").click().run()
    assert "The texts of 1 of the 2 held" in page.toast[0].value
    assert "1 held\\-out rows also in the training rows" in " ".join(block.value for block in window().markdown)


def test_nothing_is_held_out_of_what_has_no_labels() -> None:
    page = window(b"text,split\na b,train\nc d,train\n")
    assert page.number_input.len == 0
    assert [one.label for one in page.selectbox] == ["Sentence", "Label"]
    page.button(key="own.add").click().run()
    assert list_user_datasets()[0].rows == {"train": 0, "validation": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"text,label\ncaf\xe9,1\n", "is not UTF-8: byte 15 (line 2)"),
        (b"text,label\na,1,2\n", "row 1 (line 2) has 3 cells"),
        (b"text,label\n", "has no rows"),
        (b"text,label\n" + b"".join(b"a b,%d\n" % at for at in range(20)), "Column 'label' has 20 different values"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(content: bytes, words: str) -> None:
    assert words in messages(window(content))


def test_what_was_added_can_be_removed_after_a_question(store: Store) -> None:
    data = kept()
    run_id = enqueue(store, RunConfig(device="cpu", source=data.source, name="reads it"))
    page = window()
    page.button(key=f"own.ask.{data.id}").click().run()
    page.button(key="own.keep").click().run()
    page.button(key=f"own.ask.{data.id}").click().run()
    page.button(key="own.remove").click().run()
    assert "is read by reads it" in messages(page)
    store.cancel(run_id)
    page.button(key=f"own.ask.{data.id}").click().run()
    page.button(key="own.remove").click().run()
    assert list_user_datasets() == []
    assert not page.subheader


def test_the_browser_refuses_what_the_core_would() -> None:
    assert f"maxUploadSize = {MAX_MEGABYTES} " in (ROOT / ".streamlit" / "config.toml").read_text()


# the explain page ------------------------------------------------------------------------------


@pytest.mark.usefixtures("models")
def test_a_text_is_shown_though_the_data_set_of_its_link_is_gone() -> None:
    page = explain(source="own/gone-12345678", text="A lovely film.")
    assert "is not available here" in page.warning[0].value
    assert page.text_input(key="explain.text").value == "A lovely film."
    assert page.query_params["source"] in ("auto", ["auto"])
    assert not page.error


def explain(**address: str) -> AppTest:
    return open_page("explain.py", {"teacher": "run/teacher", "student": "run/student"} | address)


@pytest.fixture
def models(own_home: Path) -> None:
    for seed, model in enumerate(("teacher", "student")):
        (own_home / "runs" / model).mkdir(parents=True)
        tiny_folder(own_home / "runs" / model / "student", seed=seed)


@pytest.mark.usefixtures("models")
def test_the_source_is_picked_and_in_the_address() -> None:
    data = kept()
    page = explain()
    assert page.query_params["source"] in ("auto", ["auto"])
    picker = page.selectbox(key="explain.source.auto")
    assert "Films" in picker.options
    picker.set_value(data.source).run()
    first = load_split("sst2", "validation", data.source).examples[0]
    assert page.text_input(key="explain.text").value == first.text
    assert page.query_params["source"] in (data.source, [data.source])
    assert page.query_params["teacher"] in ("run/teacher", ["run/teacher"])
    assert "label" in "".join(block.value for block in page.html)
    page.button(key="explain.step.chevron_right").click().run()
    assert page.text_input(key="explain.text").value == load_split("sst2", "validation", data.source).examples[1].text
    again = explain(**{name: "".join(page.query_params[name]) for name in page.query_params})
    assert again.text_input(key="explain.text").value == page.text_input(key="explain.text").value
    assert any("Films" in caption.value for caption in again.caption)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("control", ["explain.source.auto", "explain.split.auto.validation"])
def test_a_click_keeps_the_source_though_the_browser_still_sends_a_former_control(control: str) -> None:
    data = kept()
    page = explain()
    former = [state for state in page._tree.get_widget_states().widgets if state.id.endswith(control)]
    assert len(former) == 1
    page.selectbox(key="explain.source.auto").set_value(data.source).run()
    page.button(key="explain.step.chevron_right").click()
    states = page._tree.get_widget_states()
    states.widgets.extend(former)  # the browser drops a control only when it has drawn the next page
    page._run(states)
    assert not page.error
    assert page.query_params["source"] in (data.source, [data.source])
    assert page.text_input(key="explain.text").value == load_split("sst2", "validation", data.source).examples[1].text


@pytest.mark.usefixtures("models")
def test_a_source_that_is_gone_says_so_and_offers_the_defaults(own_home: Path) -> None:
    data = kept()
    shutil.rmtree(own_home / "data" / data.id)
    page = explain(source=data.source)
    assert f"no data set {data.source}: it was removed, or never added here" in messages(page)
    page.button[0].click().run()
    assert not page.error
    assert page.selectbox(key="explain.source.auto").value == "auto"


@pytest.mark.usefixtures("models")
def test_a_link_to_the_hub_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "distill_core.data.datasets._read_hub", lambda *_: asked.append("hub") or [{"sentence": "a", "label": 1}]
    )
    page = explain(source="hub")
    assert asked == []
    page.button(key="explain.fetch").click().run()
    assert asked == ["hub"]
    assert page.text_input(key="explain.text").value == "a"
    page = explain()
    page.selectbox(key="explain.source.auto").set_value("hub").run()
    assert page.text_input(key="explain.text").value == "a"


@pytest.mark.usefixtures("models")
def test_unlabelled_data_is_explained_without_a_label() -> None:
    data = kept("text\nthe film is good\nthe plot is dull\n")
    page = explain(source=data.source)
    assert not page.error
    assert page.text_input(key="explain.text").value == "the film is good"


# the distill page ------------------------------------------------------------------------------


def distill(**values: object) -> AppTest:
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).switch_page("pages/distill.py")
    for name, value in values.items():
        if name == "run":
            page.query_params[name] = str(value)
        else:
            page.session_state[f"distill.{name}"] = value
    return page.run()


def test_own_data_can_be_picked_for_a_run_and_leaves_with_its_task() -> None:
    data, other = kept(), kept("text\none\ntwo\n", name="No labels")
    page = distill(source=data.source)
    assert {"Films", "No labels"} <= set(page.selectbox(key="distill.source").options)
    assert any("8 training examples: Films" in caption.value.replace("\\", "") for caption in page.caption)
    assert not page.button(key="distill.start").disabled
    page.selectbox(key="distill.source").set_value(other.source).run()
    assert "has no labels: it can be explained, but not trained on" in messages(page)
    assert page.button(key="distill.start").disabled
    page.selectbox(key="distill.task").set_value("cola").run()
    assert page.selectbox(key="distill.source").value == "auto"
    assert "Films" not in page.selectbox(key="distill.source").options


def test_a_run_says_what_it_was_trained_on(store: Store) -> None:
    data = kept(name="<b>Films</b>")
    run_id = enqueue(store, RunConfig(device="cpu", source=data.source))
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    used = [DataUsed("train", data.title, 1600, "a1" * 32), DataUsed("validation", data.title, 400, "b2" * 32)]
    store.write(run_id, FAKE_TOKEN, [], None, used)
    shown = "\n".join(str(part.proto.body) for part in distill(run=run_id).get("html"))
    assert "Training: 1,600 examples from <bdi>&lt;b&gt;Films&lt;/b&gt; (own data, films.csv)</bdi>" in shown
    assert "Validation: 400 examples from <bdi>the same source</bdi>" in shown
    assert f'title="SHA-256 {"a1" * 32}">a1a1a1a1</code>' in shown
    assert "Training" not in markup.data_line(used[1:])
    store.end(run_id, FAKE_TOKEN, "finished")


def test_a_students_link_to_explain_names_its_own_data(store: Store, own_home: Path) -> None:
    from pages.components.run.actions import explain_parameters

    data = kept()
    run = store.get(enqueue(store, RunConfig(device="cpu", source=data.source)))
    assert explain_parameters(run, {})["source"] == data.source
    shutil.rmtree(own_home / "data" / data.id)
    assert "source" not in explain_parameters(run, {})


def test_the_rows_to_train_on_can_be_looked_at_too() -> None:
    data = kept()
    page = open_page("explain.py", {"source": data.source})
    assert f"{data.title}: 2 examples for validation." in " ".join(one.value for one in page.caption).replace("\\", "")
    split = next(one for one in page.segmented_control if one.label == "Split")
    assert (split.value, split.options) == ("validation", ["Validation", "Training"])
    split.set_value("train").run()
    assert f"{data.title}: 8 examples for training." in " ".join(one.value for one in page.caption).replace("\\", "")
    texts = {example.text for example in load_split("sst2", "train", data.source).examples}
    assert page.text_input(key="explain.text").value in texts
    assert page.query_params["split"] in ("train", ["train"])


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("other", ["method", "text", "next", "source"])
def test_a_split_picked_together_with_something_else_is_shown(other: str) -> None:
    """As from a browser whose server was busy: both arrive in one run."""
    data = kept()
    page = open_page("explain.py", {"source": data.source, "split": "train"})
    if other == "method":
        page.selectbox(key="explain.method").set_value("gradient")
    elif other == "text":
        page.text_input(key="explain.text").set_value("a typed film")
    elif other == "next":
        page.button(key="explain.step.chevron_right").click()
    else:
        page.selectbox(key=f"explain.source.{data.source}").set_value("bundled")
    next(one for one in page.segmented_control if one.label == "Split").set_value("validation").run()
    assert not page.exception
    assert page.query_params["split"] in ("validation", ["validation"])
    source = "".join(page.query_params["source"])
    assert page.text_input(key="explain.text").value == load_split("sst2", "validation", source).examples[0].text


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"example": "5000"}, ""),
        ({"example": "nonsense"}, ""),
        ({"source": "/gone/folder"}, "The data set /gone/folder is not available here"),
        ({"split": "validation_mismatched"}, "Mismatched of auto is not available here"),
    ],
)
def test_a_link_with_its_text_opens_whatever_is_missing_here(address: dict[str, str], words: str) -> None:
    page = explain(text="A lovely film.", **address)
    assert not page.exception
    assert not page.error
    assert page.text_input(key="explain.text").value == "A lovely film."
    assert [words in one.value.replace("\\", "") for one in page.warning] == ([True] if words else [])


@pytest.mark.usefixtures("models")
def test_training_rows_of_unlabelled_data_are_not_there_and_the_link_says_so() -> None:
    data = kept("text\nthe film is good\nthe plot is dull\n")
    page = explain(source=data.source, split="train", text="A lovely film.")
    assert not page.error
    assert f"Training of {data.source} is not available here" in page.warning[0].value.replace("\\", "")
    assert "2 examples without labels." in " ".join(one.value for one in page.caption)
