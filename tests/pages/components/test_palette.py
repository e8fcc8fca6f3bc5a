"""The colours of models and terms can be seen on light and dark paper, and told apart."""

from itertools import combinations

import pytest

from distill_core.config.methods import DISTILLATION_METHODS, all_terms, terms_of
from pages.components.palette import RUNS, TEACHER, contrast, metric_color

PAPERS = ("#ffffff", "#fdfcfa", "#16171a")
SEEN = 3.0  # WCAG 2.1, 1.4.11: the contrast of graphics


def oklab(color: str) -> tuple[float, float, float]:
    """Return a hex colour in Ottosson's OKLab (2020), where distances are as far as they look."""
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def apart(one: str, other: str) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(oklab(one), oklab(other), strict=True)) ** 0.5)


@pytest.mark.parametrize("color", sorted({TEACHER, *RUNS, *(term.color for term in all_terms().values())}))
def test_every_colour_is_seen_on_every_paper(color: str) -> None:
    assert min(contrast(color, paper) for paper in PAPERS) >= SEEN


def test_every_term_has_a_colour_of_its_own() -> None:
    for one, other in combinations(("loss", *all_terms()), 2):
        assert apart(metric_color(one), metric_color(other)) >= 0.07, (one, other)


@pytest.mark.parametrize("method", DISTILLATION_METHODS)
def test_the_terms_of_one_run_are_far_apart(method: str) -> None:
    shown = ["loss", *(term.name for term in terms_of(method))]
    for one, other in combinations(shown, 2):
        assert apart(metric_color(one), metric_color(other)) >= 0.09, (one, other)


def test_runs_laid_over_each_other_are_told_apart() -> None:
    for one, other in combinations(RUNS, 2):
        assert apart(one, other) >= 0.1, (one, other)
