"""The explain page, through the app's entry: what a visitor sees, and that a link opens what it was copied from."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.data.datasets import Dataset, Example, load_split
from tests.support.opening import open_page
from tests.support.tiny import tiny_folder

MODELS = {"run/teacher": 0, "run/student-a": 1, "run/student-b": 2}  # id -> seed


@pytest.fixture(autouse=True)
def models(own_home: Path) -> None:
    """Put three tiny models where finished runs leave theirs."""
    for model, seed in MODELS.items():
        folder = own_home / "runs" / model.removeprefix("run/") / "student"
        folder.parent.mkdir(parents=True)
        tiny_folder(folder, seed=seed)


def opened(**address: str | list[str]) -> AppTest:
    """Open the page at an address, with the tiny models where it names none."""
    models: dict[str, str | list[str]] = {"teacher": "run/teacher", "student": ["run/student-a", "run/student-b"]}
    return open_page("explain.py", models | address)


def shown(page: AppTest) -> str:
    return "".join(block.value for block in page.html)


def messages(page: AppTest) -> str:
    assert not page.exception
    return " ".join(error.value for error in page.error).replace("\\", "")


def test_predictions_maps_and_agreement_of_all_models() -> None:
    page = opened(text="the film is not good")
    assert not page.exception
    assert not page.error
    html = shown(page)
    for model in ("teacher", "student-a", "student-b"):
        assert f'data-row="{model}"' in html
        assert f'title="run/{model}"' in html
    assert html.count('data-row="Δ student-a"') == html.count('data-row="teacher"') == 7  # five words, [CLS], [SEP]
    for number in ("Cosine", "Spearman", "Kendall", "Top-k overlap", "Label loyalty"):
        assert f"<h4>{number}</h4>" in html
    assert "Completeness gap" in html
    assert len(page.get("plotly_chart")) == 1
    assert len(page.download_button) == 3


def test_a_link_opens_the_view_it_was_copied_from() -> None:
    first = opened(text="the plot is dull")
    first.selectbox(key="explain.method").set_value("gradient").run()
    first.selectbox(key="explain.target").set_value("all").run()
    next(box for box in first.selectbox if box.label == "Explained output").set_value("log_probability").run()
    first.segmented_control(key="explain.units").set_value("words").run()
    first.multiselect(key="explain.students").set_value(["run/student-b"]).run()
    assert first.query_params["student"] in ("run/student-b", ["run/student-b"])
    assert first.query_params["method"] in ("gradient", ["gradient"])
    second = opened(**{name: first.query_params[name] for name in first.query_params})
    assert shown(second) == shown(first)
    assert second.selectbox(key="explain.target").value == "all"
    assert "on the log probability" in shown(second)


def test_a_method_that_scores_words_shows_words() -> None:
    page = opened(text="the film is slowly good")
    assert ">slow</bdi>" in shown(page)
    page.selectbox(key="explain.method").set_value("occlusion_word").run()
    assert page.segmented_control(key="explain.words_only").disabled
    assert ">slowly</bdi>" in shown(page)
    page.selectbox(key="explain.method").set_value("gradient").run()
    assert page.segmented_control(key="explain.units").value == "pieces"
    assert ">slow</bdi>" in shown(page)


def test_a_method_that_samples_has_a_seed_that_is_in_the_address() -> None:
    page = opened(text="the film is slowly good")
    assert not page.number_input
    page.selectbox(key="explain.method").set_value("shap").run()
    page.number_input[0].set_value(7).run()
    assert not page.exception
    assert page.query_params["seed"] in ("7", ["7"])
    assert "SHAP by word, mask baseline, seed 7, on the logit" in shown(page)
    assert "Sampling error 0 %, 32 masked texts" in shown(page)
    assert opened(method="shap", seed="7", text="good film").number_input[0].value == 7
    assert "use a whole number" in messages(opened(method="shap", seed="-1"))


def test_what_the_vocabulary_lacks_is_said() -> None:
    page = opened(text="good \U0001f600 film")
    assert any("UNK" in caption.value for caption in page.caption)
    page.text_input(key="explain.text").set_value("good film").run()
    assert not any("UNK" in caption.value for caption in page.caption)


def test_changing_the_text_explains_it_anew() -> None:
    page = opened(text="the film is good")
    page.text_input(key="explain.text").set_value("awful music").run()
    assert ">awful</bdi>" in shown(page)
    assert ">good</bdi>" not in shown(page)
    assert page.query_params["text"] in ("awful music", ["awful music"])
    assert "example" not in page.query_params


def test_next_previous_and_random_walk_through_the_sentences() -> None:
    examples = load_split("sst2", "validation").examples
    page = opened(example="1")
    assert page.text_input(key="explain.text").value == examples[0].text
    page.button(key="explain.step.chevron_right").click().run()
    assert page.text_input(key="explain.text").value == examples[1].text
    assert page.query_params["example"] in ("2", ["2"])
    for _ in range(2):
        page.button(key="explain.step.chevron_left").click().run()
    assert page.text_input(key="explain.text").value == examples[-1].text
    page.button(key="explain.step.shuffle").click().run()
    assert page.text_input(key="explain.text").value in {example.text for example in examples[:-1]}
    assert "label" in shown(page)


def test_browsing_searches_and_filters_the_sentences() -> None:
    examples = load_split("sst2", "validation").examples
    page = opened(example="1")
    page.button(key="explain.browse").click().run()
    assert not page.exception
    table = page.dataframe[0].value
    assert list(table["Sentence"]) == [example.text for example in examples]
    assert list(table.columns) == [
        "No.",
        "Sentence",
        "Label",
        "teacher predicts",
        "student-a predicts",
        "student-b predicts",
    ]


def test_on_a_large_data_set_the_models_run_only_after_a_click(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.components.explain import example_picker

    monkeypatch.setattr(example_picker, "AUTOMATIC_LIMIT", 10)
    monkeypatch.setattr(example_picker, "ROW_LIMIT", 20)
    page = opened(example="1")
    page.button(key="explain.browse").click().run()
    assert not page.exception, page.exception[0].value
    table = page.dataframe[0].value
    assert (list(table.columns), len(table)) == (["No.", "Sentence", "Label"], 20)
    page.button(key="pick.ask").click().run()  # draws the page without the window: a test has no fragments
    page.button(key="explain.browse").click().run()
    assert not page.exception
    assert "teacher predicts" in page.dataframe[0].value.columns


def test_filters_by_label_teacher_and_disagreement() -> None:
    from pages.components.explain.example_picker import matching

    texts = ("Good film", "bad film", "good music", "awful plot")
    labels = (1, 0, 1, 0)
    rows = tuple(Example(at, text, None, label) for at, (text, label) in enumerate(zip(texts, labels, strict=True)))
    dataset = Dataset("sst2", "validation", "here", rows, "digest")
    answers = {
        "teacher": ["positive", "positive", "positive", "negative"],
        "student": ["positive", "positive", "negative", "positive"],
    }
    assert matching(dataset, answers, "teacher", "GOOD", "any", "all") == [0, 2]
    assert matching(dataset, answers, "teacher", "", "negative", "all") == [1, 3]
    assert matching(dataset, answers, "teacher", "", "any", "right") == [0, 2, 3]
    assert matching(dataset, answers, "teacher", "", "any", "wrong") == [1]
    assert matching(dataset, answers, "teacher", "", "any", "disagree") == [2, 3]
    assert matching(dataset, answers, "teacher", "plot", "positive", "all") == []


@pytest.mark.parametrize(
    ("name", "value", "valid"),
    [
        ("method", "magic", "integrated_gradients"),
        ("target", "neutral", "negative, positive"),
        ("baseline", "noise", "zero, pad, mask"),
        ("output", "loss", "logit, log_probability"),
        ("units", "letters", "pieces, words"),
        ("task", "none", "sst2"),
        ("teacher", "run/none", "run/student-a"),
        ("student", "bundled/none", "run/student-a"),
        ("student", ["run/teacher", "run/student-a", "run/student-b", "x"], "one to 3"),
        ("example", "0", "1 to"),
        ("example", "<b>two</b>", "1 to"),
    ],
)
def test_a_wrong_address_names_the_valid_values(name: str, value: str | list[str], valid: str) -> None:
    page = opened(**{name: value})
    assert valid in messages(page)
    assert (value if isinstance(value, str) else value[-1]) in messages(page) or name == "student"
    page.button[0].click().run()  # reset the invalid settings
    assert not page.error


def test_a_reset_keeps_what_is_valid_in_the_address() -> None:
    page = opened(text="the film is slowly good", method="occlusion", units="words", baseline="Default (pad)")
    assert "choose one of: default, zero" in messages(page)
    page.button[0].click().run()
    assert not page.error
    assert page.selectbox(key="explain.method").value == "occlusion"
    assert page.segmented_control(key="explain.units").value == "words"
    assert page.text_input(key="explain.text").value == "the film is slowly good"
    assert page.selectbox(key="explain.teacher").value == "run/teacher"
    assert page.query_params["baseline"] in ("default", ["default"])


@pytest.mark.parametrize("text", ["", "   "])
def test_a_text_without_words_says_what_is_wanted(text: str) -> None:
    page = opened(text=text)
    assert "word" in messages(page)
    page.text_input(key="explain.text").set_value("good film").run()
    assert not page.error
    assert ">good</bdi>" in shown(page)


def test_one_word_says_why_its_numbers_are_undefined() -> None:
    page = opened(text="good")
    assert not page.error
    assert "undefined: " in shown(page)
    assert ">good</bdi>" in shown(page)


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    page = opened(text="good " * 100)
    assert [warning.value for warning in page.warning] == [
        "The text is longer than the models can read: its last 38 tokens were left out."
    ]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script> good", 'good " onmouseover="x', "שלום good", "**good** 😀"]
)
def test_any_text_is_shown_as_text(text: str) -> None:
    page = opened(text=text)
    assert not page.exception
    assert not page.error
    assert page.text_input(key="explain.text").value == text
    assert "<script" not in shown(page)
    assert 'onmouseover="x' not in shown(page)


def test_no_student_is_asked_for() -> None:
    page = opened(text="good film")
    page.multiselect(key="explain.students").set_value([]).run()
    assert "one to three students" in messages(page)


def test_a_model_beside_itself_agrees_entirely() -> None:
    html = shown(opened(text="the film is not good", student="run/teacher"))
    assert "run/teacher: " not in html
    assert html.count("<b>1.00</b>") == html.count("<h4>")


def test_visitors_do_not_share_a_view() -> None:
    one, other = opened(text="good film"), opened(text="awful film")
    one.selectbox(key="explain.method").set_value("occlusion").run()
    other.run()
    assert other.selectbox(key="explain.method").value == "integrated_gradients"
    assert ">awful</bdi>" in shown(other)


def test_downloads_hold_the_numbers_and_the_figure() -> None:
    from distill_core.catalog.catalog import find_model
    from distill_core.explanation.lazy_model import as_lazy_model
    from distill_core.models.encoder import load_model
    from pages.components.explain import downloads, figure
    from tests.support.explanations import explain_with

    sources = [as_lazy_model(load_model(find_model(model).path, model)) for model in ("run/teacher", "run/student-a")]
    explanation = explain_with("sst2", 'not "good" <b>', teacher=sources[0], students=sources[1:], target="all")
    lines = downloads.to_csv(explanation).splitlines()
    assert len(lines) == 1 + len(explanation.tokens) * 2 * 2
    numbers = json.loads(downloads.to_json(explanation, {"units": "pieces"}))
    assert numbers["models"][0]["id"] == "run/teacher"
    assert numbers["view"] == {"units": "pieces"}
    page = figure.document(explanation, ["Teacher", "Student"], None, {"method": "integrated_gradients"})
    assert "<b>" not in page.replace("<b>1.00</b>", "").split("<h1")[1].split("</h1>")[0]
    assert "http" not in page
