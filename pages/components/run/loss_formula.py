"""The loss of a run as a formula, the meaning of its terms, and its method's page of the documentation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import streamlit as st

from distill_core.config.method_spec import Term
from distill_core.config.methods import DISTILLATION_METHODS, describe_settings, terms_of
from distill_core.config.run_config import RunConfig
from distill_core.data.tasks import get_task
from distill_core.paths import APP
from pages.components.palette import metric_color

ON_A_LINE = 3  # terms of the formula
DOCUMENTS = APP / "docs" / "methods"


def draw_loss_formula(config: RunConfig) -> None:
    """Draw the loss with its current weights, each term in the colour of its curve, and the meaning of the terms."""
    weights, task = config.weights, get_task(config.task)
    terms = terms_of(config.method, task.span is not None, config.kd_form)
    names = {term.name: rf"\textcolor{{{metric_color(term.name)}}}{{{term.symbol}}}" for term in terms}
    parts = [rf"{weight:.3g}\,{names[name]}" for name, weight in weights.items()]
    lines = [" + ".join(parts[at : at + ON_A_LINE]) for at in range(0, len(parts), ON_A_LINE)]
    st.latex(r"\begin{aligned} L =\;& " + r" \\ & +\, ".join(lines) + r" \end{aligned}")
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="about"):
        _terms(config, terms, names)
        _more_about(config.method)


def _terms(config: RunConfig, terms: Sequence[Term], names: Mapping[str, str]) -> None:
    """Draw each term's formula and meaning, and the settings that the formulas leave open."""
    with st.popover("Terms", type="tertiary", icon=":material/function:"):
        for term in terms:
            st.latex(rf"\begin{{aligned}} {names[term.name]} &= {term.formula} \end{{aligned}}")
            st.caption(term.words)
        words = describe_settings(config.method, asdict(config), get_task(config.task).classes)
        if words:
            st.caption(words)


def _more_about(method: str) -> None:
    """Draw the button that opens a method's page of the documentation, if it has one."""
    if not (DOCUMENTS / f"{method}.md").is_file():
        return
    if st.button("More about this method", icon=":material/menu_book:", type="tertiary", key="distill.more_about"):
        st.dialog(DISTILLATION_METHODS[method].title, width="large")(_document)(method)


def _document(method: str) -> None:
    st.markdown(document(method))


def document(method: str) -> str:
    """Return a method's page as Markdown without its heading; links to other files are replaced by their text.

    Streamlit renders a formula of several lines only if its dollar signs are on lines of their own.
    """
    text = (DOCUMENTS / f"{method}.md").read_text(encoding="utf-8")
    body = re.sub(r"\A# .*\n+", "", text)
    body = re.sub(r"\$\$(.+?)\$\$", r"\n\n$$\n\1\n$$\n\n", body, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]+\)", r"\1", body)
