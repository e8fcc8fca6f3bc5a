"""Curves drawn in the browser: a chart is mounted once, and a feed sends it new points.

`draw` defines a chart, `send` sends the new points of its feed. The browser stores the points, so zoom, smoothing and a
change of axis need no server. The session remembers how much of a feed it has sent. Messages are numbered, and a feed
that starts again gets a new serial: a browser that misses a message requests all points.
"""

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from secrets import token_hex
from typing import Any

import streamlit as st

from distill_core.paths import ASSETS
from distill_core.runs.metric_names import STEP_SECONDS
from pages.components.formatting import format_number

Points = Sequence[tuple[float, float]]
Texts = Mapping[str, Sequence[tuple[int, str]]]

_CURVES = ASSETS / "curves"
SCRIPTS = ("series", "receiver", "drawing", "controls", "chart")  # one module; each reads only those before it
_CHART = st.components.v2.component(
    "dl_chart",
    js="\n".join((_CURVES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS),
    css=(_CURVES / "chart.css").read_text(encoding="utf-8"),
)
_FEED = st.components.v2.component("dl_feed", js=(_CURVES / "feed.js").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Line:
    """One curve. `name` and `clock`: the feed's metrics for its values and step durations; `batch`: examples a step."""

    name: str
    title: str
    color: str
    heavy: bool = False
    batch: int = 1
    clock: str = STEP_SECONDS


@dataclass(frozen=True)
class Panel:
    """Curves on one scale. `bounded`: metrics, none of which exceeds 1; `share`: of the chart's height."""

    lines: Sequence[Line]
    title: str = ""
    bounded: bool = False
    share: float = 1.0


@dataclass(frozen=True)
class Mark:
    """A vertical line at a step."""

    step: int
    title: str


@dataclass(frozen=True)
class Level:
    """A dotted line at a value of the chart's panel of this number."""

    value: float
    caption: str
    panel: int = 0


def score_level(title: str, score: float) -> Level:
    """Return the line of a score, captioned with its title and the score as the tables show it."""
    return Level(score, f"{title} {format_number(score)}")


@dataclass(frozen=True)
class Notes:
    """The marks and levels of a chart."""

    marks: Sequence[Mark] = ()
    levels: Sequence[Level] = ()


@dataclass
class _Sent:
    """What a session has sent of a feed: the number of points of each metric, and each chart's notes."""

    stamp: str
    serial: str = field(default_factory=lambda: token_hex(4))
    number: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Notes] = field(default_factory=dict)


def draw(
    key: str,
    feed: str,
    sets: Mapping[str, Sequence[Panel]],
    *,
    alt: str,
    steps: int | None = None,
    height: int = 270,
    empty: str = "Nothing was measured.",
    notes: Notes = Notes(),
    legend: bool = False,
    controls: bool = True,
    layouts: bool = False,
    file: str = "distillation-lens",
) -> None:
    """Mount a chart of a feed's points; call `send` after it.

    `sets`: title to panels, one above the other; with several sets, the user chooses one. `steps`: the length of the
    axis, None for that of the curves. `empty`: the text until the first point. `notes`: replaced by those of `send`.
    `legend`: whether the curves are named below the controls and can be hidden there. `controls`: whether smoothing,
    log scale and axis can be chosen; they apply to all charts. `layouts`: whether the curves are parts of a whole
    (`heavy`) and can be stacked or drawn separately. `file`: the file name of a saved picture.
    """
    spec = {
        "chart": key,
        "feed": feed,
        "sets": [{"title": title, "panels": [asdict(panel) for panel in panels]} for title, panels in sets.items()],
        "alt": alt,
        "steps": steps,
        "height": height,
        "empty": empty,
        "legend": legend,
        "controls": controls,
        "layouts": layouts,
        "file": file,
        **asdict(notes),
    }
    _CHART(key=key, data=spec)


def listen() -> None:
    """Make a page without charts receive the texts of a feed."""
    _CHART(key="listen")


def send(
    feed: str,
    stamp: str,
    points: Mapping[str, Points],
    *,
    notes: Mapping[str, Notes] | None = None,
    texts: Texts | None = None,
) -> None:
    """Send the new points of a feed, (step, value) by metric in ascending steps; all of them for a new `stamp`.

    `notes`: by chart, sent when they change. `texts`: new texts for leaves of the page's parts, see `live_html`.
    """
    if not is_current(feed, stamp):
        st.session_state[_key(feed)] = _Sent(stamp)
    sent: _Sent = st.session_state[_key(feed)]
    new = {name: values[sent.counts.get(name, 0) :] for name, values in points.items()}
    changed = {chart: marked for chart, marked in (notes or {}).items() if sent.notes.get(chart) != marked}
    message = {
        "feed": feed,
        "stamp": sent.serial,
        "number": sent.number,
        "points": packed(new),
        "notes": {chart: asdict(marked) for chart, marked in changed.items()},
        "texts": texts or {},
    }
    sent.number += 1
    sent.counts |= {name: len(values) for name, values in points.items()}
    sent.notes |= changed
    _FEED(key=_key(feed), data=message, on_all_change=lambda: forget(feed))


def is_current(feed: str, stamp: str) -> bool:
    """Return whether `send` would continue this feed instead of starting it again."""
    sent = st.session_state.get(_key(feed))
    return isinstance(sent, _Sent) and sent.stamp == stamp


def forget(feed: str) -> None:
    """Make the next `send` start the feed again."""
    st.session_state.pop(_key(feed), None)


def packed(points: Mapping[str, Points]) -> list[dict[str, Any]]:
    """Return points encoded for the browser, with metrics of the same steps grouped.

    `steps`: ranges of [first, count]; `values`: base64 of little-endian float32, each without its lowest byte, which
    leaves about four and a half digits.
    """
    together: dict[tuple[float, ...], dict[str, str]] = {}
    for name, values in points.items():
        if values:
            steps = tuple(step for step, _ in values)
            together.setdefault(steps, {})[name] = _short_floats([value for _, value in values])
    return [{"steps": _stretches(steps), "values": values} for steps, values in together.items()]


def _stretches(steps: Sequence[float]) -> list[list[float]]:
    found: list[list[float]] = []
    for step in steps:
        if found and step == sum(found[-1]):
            found[-1][1] += 1
        else:
            found.append([step, 1])
    return found


def _short_floats(numbers: Sequence[float]) -> str:
    wide = array("f", numbers)
    if sys.byteorder == "big":
        wide.byteswap()
    raw = bytearray(wide.tobytes())
    del raw[::4]
    return base64.b64encode(raw).decode("ascii")


def _key(feed: str) -> str:
    return f"feed_{feed}"
