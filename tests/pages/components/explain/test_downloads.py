"""The table of scores as a file: what spreadsheets would run stays text, and numbers stay numbers."""

import csv
import io
from dataclasses import replace

import pytest

from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import Explanation, ModelExplanation, TokenMap
from pages.components.explain.downloads import to_csv


def explained(token: str, model: str = "bundled/teacher") -> Explanation:
    map_ = TokenMap("positive", (-0.5,), None, None, None, None)
    said = ModelExplanation(model, ("negative", "positive"), (0.0, 1.0), (0.3, 0.7), "positive", (map_,), (), False)
    return Explanation(
        ExplanationRequest(task="sst2", text=token, teacher=model, method="gradient_x_input", units="words"),
        (token,), (token,), (0,), (0,), (False,), 0, (said,), (),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://a.b","x")', "+1", "-", "@SUM(1)", "\tx", "\rx", "'s", "good", "Ġ=", "7"]
)
def test_text_that_a_spreadsheet_would_run_has_an_apostrophe_before_it(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv(explained(text, model=text)), newline=""))
    for name in ("token", "shown", "model"):
        assert not row[name].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert row[name] in (text, f"'{text}")
    assert (row["score"], row["normalised"]) == ("-0.5", "-1.000000")


def test_ordinary_text_is_as_it_is_and_an_apostrophe_can_be_told() -> None:
    for text, written in (("good", "good"), ("##ing", "##ing"), ("it's", "it's"), ("'s", "''s")):
        (row,) = csv.DictReader(io.StringIO(to_csv(explained(text))))
        assert row["token"] == written


def test_each_token_says_which_text_of_a_pair_it_is_from() -> None:
    found = explained("good")
    pair = replace(found, tokens=("a", "b", "[SEP]"), shown=("a", "b", "[SEP]"), words=(0, 1, None),
                   segments=(0, 1, None), special=(False, False, True))  # fmt: skip
    map_ = replace(found.models[0].attributions[0], scores=(0.1, 0.2, 0.3))
    rows = csv.DictReader(io.StringIO(to_csv(replace(pair, models=(replace(found.models[0], attributions=(map_,)),)))))
    assert [row["text"] for row in rows] == ["1", "2", ""]
