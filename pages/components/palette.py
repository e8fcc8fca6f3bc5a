"""The colours that carry meaning: the signed scale of scores, and one colour for each model and training term.

The signed scale runs from orange (against the class) through the background to blue (for it): two hues that stay
distinguishable in every common form of colour blindness, with lightness changing evenly from the middle. Model and
term colours have medium lightness, so one set is readable in the light and dark themes and a chart need not know
the theme; none of them is orange or blue.
"""

from dataclasses import dataclass
from itertools import pairwise

from distill_core.config.methods import all_terms
from distill_core.runs.metric_names import color_key

TEACHER = "#6f7785"
STUDENTS = ("#0f9488", "#b0508f", "#a8841c")
FOR, AGAINST = "#3f83bf", "#cf7530"  # the signed scale's ends where only one shade fits

METRICS = {  # by the colour keys of `metric_names`; a term of the loss has its colour in the spec of its method
    "neutral": TEACHER,
    "first": STUDENTS[0],
    "second": STUDENTS[1],
    "third": STUDENTS[2],
    "green": "#5b8f3a",
}

RUNS = (*STUDENTS, "#4a79cf", "#c9482f", "#8d5fd3", "#4f9431", "#8a8078")  # only for the curves of compared runs

_LIGHT_FOR = ("#f1efe9", "#c9dcea", "#8fbbdc", "#4a8cc2", "#1a5a94")
_LIGHT_AGAINST = ("#f1efe9", "#f6dcc0", "#efb47c", "#d97f35", "#a9510f")
_DARK_FOR = ("#25272b", "#23405a", "#2f6591", "#4f95cc", "#8cc4f2")
_DARK_AGAINST = ("#25272b", "#4a3320", "#7d4f21", "#c07a2c", "#f4b066")


@dataclass(frozen=True)
class Shade:
    """Background and text colour of one value, as hex, in the light and the dark theme."""

    light: str
    light_text: str
    dark: str
    dark_text: str


def model_color(position: int) -> str:
    """Return the colour of the model at `position`: 0 is the teacher, then the students in order."""
    if position == 0:
        return TEACHER
    return STUDENTS[(position - 1) % len(STUDENTS)]


def metric_color(name: str) -> str:
    """Return the colour of a measured number, the same for a term raw and weighted; neutral for an unknown name."""
    key = color_key(name)
    terms = all_terms()
    return terms[key].color if key in terms else METRICS.get(key, TEACHER)


def shade(value: float) -> Shade:
    """Return the colours of a normalised score; beyond -1 and 1 the scale's end colour is used."""
    strength = min(abs(value), 1.0)
    light = _between(_LIGHT_FOR if value >= 0 else _LIGHT_AGAINST, strength)
    dark = _between(_DARK_FOR if value >= 0 else _DARK_AGAINST, strength)
    return Shade(light, readable_on(light), dark, readable_on(dark))


def readable_on(background: str) -> str:
    """Return black or white, whichever contrasts more with a hex colour; the ratio is always above 4.5."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, background))


def contrast(one: str, other: str) -> float:
    """Return the WCAG 2 contrast ratio of two hex colours, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _between(anchors: tuple[str, ...], strength: float) -> str:
    """Return the hex colour at `strength` (0 to 1) along evenly spaced anchors."""
    segments = list(pairwise(anchors))
    at = min(int(strength * len(segments)), len(segments) - 1)
    share = strength * len(segments) - at
    start, end = (_channels(anchor) for anchor in segments[at])
    mixed = (round(a + (b - a) * share) for a, b in zip(start, end, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[at : at + 2], 16) for at in (1, 3, 5))


def _luminance(color: str) -> float:
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (channel / 255 for channel in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
