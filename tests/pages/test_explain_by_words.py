"""The explain page with models that split the text into different tokens: side by side by words, without a click."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.metrics.agreement import AGREEMENT_METRICS
from distill_core.models.encoder import load_model
from pages.components.explain import downloads, figure
from tests.support.explanations import explain_with
from tests.support.opening import html_of as shown
from tests.support.opening import open_page
from tests.support.tiny_architectures import sentiment_folder

TEXT = "the actings was slowly, but café is good."
WORDS = TEXT.split()


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Return the folders of a model like BERT and of one like RoBERTa."""
    return [str(sentiment_folder(tmp_path / name, name, seed)) for seed, name in enumerate(("bert", "roberta"))]


def opened(folders: list[str], **address: str | list[str]) -> AppTest:
    return open_page("explain.py", {"text": TEXT, "teacher": folders[0], "student": folders[1:]} | address)


def test_what_cannot_be_shown_by_pieces_is_shown_by_words(folders: list[str]) -> None:
    page = opened(folders)
    html = shown(page)
    assert "different tokens" in page.info[0].value
    assert page.segmented_control(key="explain.units").value == "words"
    assert page.query_params["units"] in ("words", ["words"])
    for word in WORDS:
        assert f">{word}</bdi>" in html
    for row in ("bert", "roberta", "Δ roberta"):
        assert html.count(f'data-row="{row}"') == len(WORDS)
    assert "[CLS]" not in html
    assert "<s>" not in html
    assert html.count("<h4>") == len(AGREEMENT_METRICS)
    assert 'class="dl-undefined"' not in html
    assert "over the words (1 − √JSD)" in html
    assert "over the tokens" not in html
    assert len(page.get("plotly_chart")) == 1
    assert len(page.download_button) == 3
    captions = " ".join(caption.value for caption in page.caption).replace("\\", "")
    assert "The vocabulary of bert lacks parts of: “café”. " in captions
    assert not page.run().info, "it is said once"
    page.segmented_control(key="explain.units").set_value("pieces").run()
    assert "different tokens" in page.info[0].value
    assert page.segmented_control(key="explain.units").value == "words"


def test_a_method_of_words_needs_no_click_and_all_classes_are_shown(folders: list[str]) -> None:
    html = shown(opened(folders, method="occlusion_word", target="all"))
    assert html.count("<h4>Cosine</h4>") == 3  # each class, and the mean
    assert html.count('data-row="Δ roberta"') == 2 * len(WORDS)


def test_bytes_are_shown_as_text(folders: list[str]) -> None:
    page = opened(folders[1:] * 2, text="the film is \u00e9")
    html = shown(page)
    assert ">film</bdi>" in html
    assert "Ġfilm" in html  # in the hover
    assert ">Ġ" not in html
    assert html.count(">\ufffd</bdi>") == 2


def test_a_text_too_long_says_how_many_words_are_not_compared(folders: list[str]) -> None:
    page = opened(folders, text="actings " * 100, units="words")
    assert "words were left out" in page.warning[0].value
    shown(page)


def test_exports_hold_words(folders: list[str]) -> None:
    models = [load_model(Path(folder)) for folder in folders]
    explanation = explain_with("sst2", TEXT, teacher=models[0], students=models[1:], target="all", units="words")
    lines = downloads.to_csv(explanation).splitlines()
    assert lines[0].startswith("position,token,shown,word,")
    assert len(lines) == 1 + len(WORDS) * 2 * 2
    numbers = json.loads(downloads.to_json(explanation, {"units": "words"}))
    assert (numbers["units"], numbers["tokens"]) == ("words", WORDS)
    assert len(numbers["consistency"]) == 2
    assert [row["target"] for row in numbers["mean_consistency"]] == ["mean"]
    document = figure.document(explanation, ["BERT", "RoBERTa"], None, {"units": "words"})
    assert document.count('data-row="Δ RoBERTa"') == 2 * len(WORDS)
    pieces = explain_with("sst2", TEXT, teacher=models[1], method="gradient")
    assert ",Ġwas,was," in downloads.to_csv(pieces)
    assert json.loads(downloads.to_json(pieces, {}))["shown"] == list(pieces.shown)
