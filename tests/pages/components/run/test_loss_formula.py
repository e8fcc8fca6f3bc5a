"""A method's page is shown as it is, without what leads out of it."""

import pytest

from distill_core.config.methods import DISTILLATION_METHODS
from pages.components.run.loss_formula import document


@pytest.mark.parametrize("method", DISTILLATION_METHODS)
def test_a_method_s_page_has_its_formula_and_no_dead_link(method: str) -> None:
    text = document(method)
    assert not text.startswith("#")
    assert "**Idea.**" in text
    assert ".md)" not in text
    lines = text.splitlines()
    assert lines.count("$$") == text.count("$$")  # else Streamlit shows a formula of several lines as an error
    assert text.count("$$") % 2 == 0
