"""The explain page for pairs, three classes and scores, through the app's entry, on tiny models."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.data.datasets import load_split
from tests.support.opening import html_of as shown
from tests.support.opening import open_page
from tests.support.tiny import tiny_folder

TASKS = ("mnli", "stsb", "sst2")


@pytest.fixture(autouse=True)
def models(own_home: Path) -> None:
    """Put a tiny teacher and student of each task where finished runs leave theirs."""
    for seed, task in enumerate(TASKS):
        for kind in ("teacher", "student"):
            folder = own_home / "runs" / f"{task}-{kind}" / "student"
            folder.parent.mkdir(parents=True)
            tiny_folder(folder, seed=10 * seed + len(kind), task=task)


def opened(task: str, **address: str | list[str]) -> AppTest:
    models = {"teacher": f"run/{task}-teacher", "student": f"run/{task}-student"}
    return open_page("explain.py", {"task": task} | models | address)


def test_a_pair_has_two_fields_and_its_texts_stand_apart() -> None:
    page = opened("mnli", text="the film is good", text_pair="the film is not bad")
    html = shown(page)
    assert page.text_input(key="explain.text_pair").value == "the film is not bad"
    assert "<b>Premise</b>" in html
    assert "<b>Hypothesis</b>" in html
    assert html.count('class="dl-map"') == 2
    page.text_input(key="explain.text_pair").set_value("awful plot").run()
    assert ">awful</bdi>" in shown(page)
    assert page.query_params["text_pair"] in ("awful plot", ["awful plot"])


def test_a_pair_without_its_second_text_says_what_is_wanted() -> None:
    page = opened("mnli", text="the film is good")
    assert not page.exception
    assert "type at least one word" in page.error[0].value


def test_a_long_pair_is_cut_at_the_longer_text_and_says_so() -> None:
    page = opened("mnli", text="good " * 100, text_pair="bad plot")
    shown(page)
    assert [warning.value for warning in page.warning] == [
        "The two texts together are longer than the models can read: 41 tokens were left out, from the end of the "
        "longer text first."
    ]


def test_all_three_classes_are_shown_with_their_mean() -> None:
    html = shown(opened("mnli", text="good", text_pair="bad plot", target="all"))
    for name in ("entailment", "neutral", "contradiction"):
        assert f'<bdi class="dl-target">{name}</bdi>' in html
    assert html.count("· the teacher’s prediction") == 1
    assert html.count("<h4>Cosine</h4>") == 4  # each class, and the mean


def test_a_score_takes_the_place_of_the_class() -> None:
    page = opened("stsb", example="1")
    html = shown(page)
    gold = load_split("stsb", "validation").examples[0].label
    assert gold is not None
    assert f"label {gold:.2f}" in html
    assert "undefined: the model predicts a score, not a class" in html
    assert "✓ right" not in html
    assert next(box for box in page.selectbox if box.label == "Explained output").options == ["Score"]


def test_changing_the_task_begins_anew_with_its_models() -> None:
    page = opened("sst2", text="good film", method="gradient")
    page.selectbox(key="explain.task").set_value("stsb").run()
    html = shown(page)
    assert page.query_params["task"] in ("stsb", ["stsb"])
    assert page.selectbox(key="explain.method").value == "gradient"
    assert "stsb-teacher" in html or "stsb-student" in html


def test_browsing_pairs_shows_both_texts() -> None:
    page = opened("stsb", example="1")
    page.button(key="explain.browse").click().run()
    assert not page.exception
    table = page.dataframe[0].value
    assert list(table.columns)[:4] == ["No.", "First sentence", "Second sentence", "Label"]
