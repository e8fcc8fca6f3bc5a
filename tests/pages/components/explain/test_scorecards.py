"""Predictions and agreement numbers say what is known, and why where nothing is."""

from pages.components.explain.scorecards import AgreementCard, PredictionCard, agreement, predictions

EXPLAINED = {"cosine": "How alike the maps point.", "top_k_overlap": "Shared strongest tokens."}


def test_an_undefined_number_gives_its_reason() -> None:
    student = AgreementCard(
        "KD", "#0f9488", {"cosine": None, "top_k_overlap": 0.5}, {"cosine": "the map is <constant>"}
    )
    html = agreement([student], EXPLAINED)
    assert "undefined: the map is &lt;constant&gt;" in html
    assert ">0.50<" in html
    assert "How alike the maps point." in html
    assert "Top-k overlap" in html


def test_a_reason_that_holds_for_all_students_is_given_once() -> None:
    def card(label: str, reason: str) -> AgreementCard:
        return AgreementCard(label, "#0f9488", {"cosine": None}, {"cosine": reason})

    explained = {"cosine": ""}
    assert agreement([card("KD", "no sign"), card("AD-KD", "no sign")], explained).count("undefined: no sign") == 1
    html = agreement([card("KD", "no sign"), card("AD-KD", "one word")], explained)
    assert "undefined: no sign" in html
    assert "undefined: one word" in html
    known = AgreementCard("GKD", "#b0508f", {"cosine": 0.5}, {})
    assert 'title="KD"' in agreement([card("KD", "no sign"), known], explained)


def test_marks_stand_on_the_span_of_their_number() -> None:
    html = agreement([AgreementCard("KD", "#0f9488", {"cosine": 0.0, "top_k_overlap": 1.0}, {})], EXPLAINED)
    assert "left:50.0%" in html  # a cosine runs from -1
    assert "left:100.0%" in html


def test_predictions_escape_names_and_tell_the_label() -> None:
    shares = {"<neg>": 0.25, "pos": 0.75}
    card = PredictionCard(
        "<b>Teacher</b>", "#6f7785", 'run/"x"', "pos", shares, "<neg>", warning="Not converged: gap 4 %"
    )
    html = predictions([card])
    assert "<b>Teacher" not in html.replace('<b class="dl-name">', "")
    assert "&lt;neg&gt;" in html
    assert "75.0 %" in html
    assert "✗ wrong" in html
    assert "<bdi>&lt;neg&gt;</bdi> 25.0 % · label" in html
    assert "Not converged" in html
    assert 'title="run/&quot;x&quot;"' in html


def test_a_text_without_label_is_neither_right_nor_wrong() -> None:
    html = predictions([PredictionCard("Teacher", "#6f7785", "t", "pos", {"neg": 0.1, "pos": 0.9}, None)])
    assert "label" not in html
