"""What is said of the methods follows what a run sets."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from distill_core.config.methods import DISTILLATION_METHODS, describe_settings, methods_table, terms_of
from distill_core.config.run_config import FIELDS, RunConfig


def said(method: str, classes: int = 2, **settings: Any) -> str:
    return describe_settings(method, asdict(RunConfig(method=method, **settings)), classes)


def test_ad_kd_says_what_it_will_train() -> None:
    words = said("ad_kd", attribution_steps=8, map_norm="l1", map_distance="l1")
    assert "*m* = 8 points, all dimensions, maps scaled by L1, absolute differences" in words
    assert "*m* = 1 point, the teacher’s 300 largest dimensions" in said("ad_kd", top_k=300)
    views = [said("ad_kd", classes=classes) for classes in (1, 2, 3)]
    for words, view in zip(views, ("squared error", "cross-entropy", "−log *p*(*c*) for every class"), strict=True):
        assert view in words


def test_only_what_a_method_leaves_open_is_said() -> None:
    assert said("kd") == said("gkd") == said("egkd_gradient") == ""
    assert "evenly spaced" in said("pkd")
    assert "its last ones" in said("gkd_cls", matching="last")
    assert "uses 2 of the 2 sets" in said("egkd_perturbation", erasures=2, erasures_each_step=5)
    assert "30 % of a text" in said("egkd_feature_selection", rationale_share=0.3)


def test_the_table_of_the_documentation_is_that_of_the_specs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods" / "README.md").read_text(encoding="utf-8")
    assert methods_table() in page


def test_every_setting_that_a_method_names_is_a_setting_of_a_run() -> None:
    for method in DISTILLATION_METHODS.values():
        settings = {*method.settings, *(setting for _, setting in method.arguments)}
        assert settings <= set(FIELDS)
        assert set(method.cost_settings) <= set(method.settings)


@pytest.mark.parametrize("scores", [False, True])
def test_formulas_are_whole(scores: bool) -> None:
    for method in DISTILLATION_METHODS:
        for term in terms_of(method, scores):
            assert term.formula.count("{") == term.formula.count("}")
            assert term.formula.count(r"\left") - term.formula.count(r"\leftarrow") == term.formula.count(r"\right")
    (classes, regression) = (terms_of("egkd_feature_selection", scores)[-1].formula for scores in (False, True))
    assert r"\bigl[" in classes  # the sum is of both squares
    assert r"\sum" not in regression
