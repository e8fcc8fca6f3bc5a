"""Distill: start a run, watch it learn, and see whether the explanation gap closed."""

import streamlit as st

from distill_core import runner
from distill_core.config import METHODS, RunConfig
from distill_core.devices import resolve_device
from distill_core.errors import DistillError, ModelError
from distill_core.paths import ASSETS
from distill_core.store import Store
from pages.components import run_html
from pages.components.frame import errors_shown, frame, page_link, plain, show_error
from pages.components.run_estimate import about, estimate
from pages.components.run_form import check_teacher, config_in_form, data_words, draw_name, draw_settings
from pages.components.run_view import draw_run, draw_runs

LIVE_SECONDS = 1.0
LIST_SECONDS = 3.0
EXPLAINED = {
    "kd": "The student learns the labels and, more so, the teacher’s softened answers, which also tell how sure the "
    "teacher is. What the teacher looks at is not taught.",
    "ad_kd": "The student learns the labels, the teacher’s softened answers, and to weigh the same tokens: its "
    "attribution map is pulled towards the teacher’s.",
}
TERMS = {
    r"\mathrm{CE} = -\log p_s(y)": "Cross-entropy with the gold label *y*.",
    r"\mathrm{KD} = -\textstyle\sum_c p_t^{\tau}(c)\,\log p_s^{\tau}(c)": "Soft cross-entropy with the teacher’s "
    "probabilities, both softened by the temperature τ (Hinton et al. 2015).",
    r"\mathrm{AD} = \tfrac1n \textstyle\sum_i \left(\bar a_t(i) - \bar a_s(i)\right)^2,\quad a(i) = "
    r"\lVert \tfrac{\partial \mathrm{CE}}{\partial E_i} \odot E_i \rVert_2": "Distance of the two attribution maps, "
    "each scaled to length 1; *E* is the embedding block’s output (Wu et al., ACL 2023).",
}


def formula(config: RunConfig) -> str:
    """Return the loss with the chosen weights in it, each term in its curve's colour."""

    def colored(name: str, text: str) -> str:
        return rf"\textcolor{{{run_html.metric_color(name)}}}{{{text}}}"

    words = rf"L = {1 - config.alpha:.3g}\,{colored('ce', r'\mathrm{CE}')}"
    words += rf" + {config.alpha:.3g}\,{colored('kd', rf'\mathrm{{KD}}_{{\tau={config.temperature:.3g}}}')}"
    if config.method == "ad_kd":
        words += rf" + {config.attribution_weight:.3g}\,{colored('ad_kd', r'\mathrm{AD}')}"
    return words
