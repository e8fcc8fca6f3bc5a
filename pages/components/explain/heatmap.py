"""Tokens and scores as escaped HTML: one row per model, aligned token by token.

The unit of layout is a word with the punctuation after it: one column per piece, with the token above one cell per row.
Units are never broken, so when a long sentence wraps, all models' rows stay aligned and no line begins with a comma.
Each cell also carries its row's label; `assets/figure.css` pins it to the left gutter, where the labels of one line's
columns overlap and read as one. Colours are given for light and dark, `light-dark(...)`, so the map follows the theme
without being drawn again.

Word pieces are shown as they read ("##ing" as "ing"), without a gap after the previous piece and above one line per
word, so the sentence reads, and copies, as it was written; the hover names the piece itself. Words run in the direction
of the sentence, pieces in the direction of their word.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from distill_core.attribution.reduce import word_groups
from pages.components.formatting import format_number, with_true_minus
from pages.components.palette import shade

PRINTED_FROM = 0.05  # smaller scores show their colour only
_CLOSING = frozenset(".,;:!?)]}%'’”»…")  # kept on the line of the word before
_LONGEST_UNIT = 4  # words and marks: a row of marks may still wrap


@dataclass(frozen=True)
class MapRow:
    """One row: `values` are what is coloured, -1 to 1; `raw` what the hover adds, None in a difference row.

    `colors`: one model's colour, or the two whose difference the row shows.
    """

    label: str
    colors: tuple[str, ...]
    values: tuple[float, ...]
    raw: tuple[float, ...] | None = None

    def part(self, where: slice) -> "MapRow":
        """Return the row of some of the tokens."""
        return replace(self, values=self.values[where], raw=None if self.raw is None else self.raw[where])


def normalised(scores: Sequence[float], special: Sequence[bool]) -> tuple[float, ...]:
    """Return scores divided by the largest |score| of a token that is not special, cut to -1 to 1.

    A map without any nonzero score stays zero.
    """
    largest = max((abs(score) for score, apart in zip(scores, special, strict=True) if not apart), default=0.0)
    if largest == 0.0:
        return tuple(0.0 for _ in scores)
    return tuple(max(-1.0, min(1.0, score / largest)) for score in scores)


def difference(teacher: MapRow, student: MapRow) -> MapRow:
    """Return the row of teacher minus student, on their normalised maps."""
    values = tuple(a - b for a, b in zip(teacher.values, student.values, strict=True))
    return MapRow(f"Δ {student.label}", (*teacher.colors, *student.colors), values)


def heatmap(
    tokens: Sequence[str],
    shown: Sequence[str],
    words: Sequence[int | None],
    special: Sequence[bool],
    rows: Sequence[MapRow],
) -> str:
    """Return the map as HTML; every token and label is escaped, right-to-left text isolated.

    `tokens`, `shown`, `words` and `special` as in `Explanation`. All sequences, and the values of all rows, have
    one length; ValueError otherwise.
    """
    if any(len(part) != len(tokens) for part in (shown, words, special, *(row.values for row in rows))):
        raise ValueError(f"{len(tokens)} tokens, but texts, words, special flags or a row have another length.")
    units: list[list[str]] = []
    for group in word_groups(words):
        follows = len(group) == 1 and (special[group[0]] or shown[group[0]] in _CLOSING)
        if not (follows and units and len(units[-1]) < _LONGEST_UNIT):
            units.append([])
        units[-1].append(_word(group, tokens, shown, special, rows))
    drawn = "".join(f'<div class="dl-unit">{"".join(unit)}</div>' for unit in units)
    direction = _direction("".join(text for text, apart in zip(shown, special, strict=True) if not apart))
    return f'<div class="dl-map" dir="{direction}">{drawn}</div>'


def legend(target: str, signed: bool, title: str) -> str:
    """Return a title and the colour scale with its ends named, as HTML; unsigned maps have the one-sided half."""
    steps = [value / 10 for value in range(-10 if signed else 0, 11)]
    stops = ", ".join(_paint(step)[0] for step in steps)
    name = f'<bdi class="dl-target">{escape(target)}</bdi>'
    low = f"against {name} −1" if signed else "0"
    high = f"1 for {name}" if signed else f"1 strongest on {name}"
    return (
        f'<div class="dl-legend"><span class="dl-title">{escape(title)}</span><span>{low}</span>'
        f'<span class="dl-scale" style="background:linear-gradient(to right, {stops})"></span>'
        f"<span>{high}</span></div>"
    )


def _word(
    group: Sequence[int],
    tokens: Sequence[str],
    shown: Sequence[str],
    special: Sequence[bool],
    rows: Sequence[MapRow],
) -> str:
    kind = "dl-word dl-special" if special[group[0]] else "dl-word dl-pieces" if len(group) > 1 else "dl-word"
    columns = ""
    for at in group:
        text = escape(shown[at], quote=True)
        cells = "".join(_cell(tokens[at], row, at) for row in rows)
        columns += f'<div class="dl-column"><bdi class="dl-token" dir="auto">{text}</bdi>{cells}</div>'
    return f'<div class="{kind}" dir="{_direction("".join(shown[at] for at in group))}">{columns}</div>'


def _cell(token: str, row: MapRow, at: int) -> str:
    value = row.values[at]
    hover = f"\u2068{token}\u2069 · {row.label}: {with_true_minus(f'{value:+.3f}')}"  # isolated, as <bdi> would
    if row.raw is not None:
        hover += f" (raw {with_true_minus(f'{row.raw[at]:.4g}')})"
    background, ink = _paint(value)
    dots = f"{row.colors[0]} 50%,{row.colors[-1]} 50%"
    kind = "dl-cell" if row.raw is not None else "dl-cell dl-difference"
    return (
        f'<span class="{kind}" role="img" aria-label="{escape(hover, quote=True)}"'
        f' data-row="{escape(row.label, quote=True)}"'
        f' style="background:{background};color:{ink};--dots:{dots}">'
        f"{format_number(value) if abs(value) >= PRINTED_FROM else ''}</span>"
    )


def _paint(value: float) -> tuple[str, str]:
    colors = shade(value)
    return f"light-dark({colors.light},{colors.dark})", f"light-dark({colors.light_text},{colors.dark_text})"


def _direction(text: str) -> str:
    """Return the direction of the first letter that has one, as `dir=auto` would find it."""
    kinds = (unicodedata.bidirectional(letter) for letter in text)
    return "ltr" if next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") == "L" else "rtl"
