"""The figure: what it says of the quality of each model's maps."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill_core.explanation.result import Explanation, TokenMap
from pages.components.explain.figure import predictions_html
from tests.support.explanations import explain_with
from tests.support.tiny import tiny_model


@pytest.fixture(scope="module")
def explanation(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    folder: Path = tmp_path_factory.mktemp("models") / "teacher"
    return explain_with("sst2", "good film", teacher=tiny_model(folder), method="shap", target="all")


def shown(explanation: Explanation, *maps: TokenMap) -> str:
    (model,) = explanation.models
    return predictions_html(replace(explanation, models=(replace(model, attributions=maps),)), ["Teacher"], None)


def token_map(*, gap: float | None, converged: bool | None, nodes: int | None, error: float | None = None) -> TokenMap:
    return TokenMap("positive", (0.5, 0.5), gap, gap, converged, nodes, error)


def test_the_least_exact_map_is_named(explanation: Explanation) -> None:
    good, poor = (token_map(gap=0.0, converged=True, nodes=372, error=error) for error in (0.04, 0.125))
    assert "Sampling error 12 %, 372 masked texts" in shown(explanation, good, poor)
    unsampled = (token_map(gap=gap, converged=True, nodes=20) for gap in (0.002, 0.004))
    assert "Completeness gap 0.4 %, 20 masked texts" in shown(explanation, *unsampled)


def test_a_map_that_has_not_converged_is_a_warning_whatever_the_others_are(explanation: Explanation) -> None:
    bad = token_map(gap=0.0, converged=False, nodes=372, error=0.25)
    worse = token_map(gap=0.0, converged=True, nodes=16, error=0.3)
    html = shown(explanation, bad, worse)
    assert "Not converged: sampling error 25 %, 372 masked texts" in html
    assert "dl-remark" not in html


def test_a_method_without_a_measure_of_its_error_has_no_remark(explanation: Explanation) -> None:
    html = shown(explanation, token_map(gap=None, converged=None, nodes=None))
    assert "dl-remark" not in html
    assert "dl-warning" not in html
