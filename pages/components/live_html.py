"""HTML on the page whose texts change: only the new texts are sent to the browser, not the page.

A part is drawn once, as `<div data-live="NAME">`. Its leaves, elements that hold a text and no element, are numbered in
the order they stand in; what is left without their texts is its skeleton. As long as that stays, new texts are enough.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape, unescape

import streamlit as st

from pages.components.streaming_chart import Texts

_LEAF = re.compile(r"<(\w+)((?: [^<>]*)?)>([^<]*)</\1>")
_SHAPE = re.compile(r";clip-path:polygon\([^)]*\)")  # drawn from the text that goes with it


@dataclass
class Parts:
    """The parts of a page as a session's browser has them."""

    skeletons: dict[str, str] = field(default_factory=dict)
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By name, of those parts of which they are known."""

    def draw(self, name: str, html: str) -> None:
        """Draw a part in the page's own run; an empty one takes no room.

        Its texts count as not known, as a browser that has had the same HTML before keeps what became of it.
        """
        self.skeletons[name] = split(html)[0]
        if html:
            st.html(f'<div data-live="{escape(name, quote=True)}">{html}</div>', width="stretch")

    def fit(self, parts: Mapping[str, str]) -> bool:
        """Tell whether these are the parts that were drawn, but for their texts."""
        return self.skeletons == {name: split(html)[0] for name, html in parts.items()}

    def changes(self, parts: Mapping[str, str]) -> Texts:
        """Return which leaves of these parts have another text, and take it that they are sent."""
        found: dict[str, list[tuple[int, str]]] = {}
        for name, html in parts.items():
            skeleton, after = split(html)
            if self.skeletons.get(name) != skeleton:
                continue
            before = self.texts.get(name)
            changed = [(at, text) for at, text in enumerate(after) if before is None or before[at] != text]
            if changed:
                found[name], self.texts[name] = changed, after
        return found


@lru_cache(maxsize=128)
def split(html: str) -> tuple[str, tuple[str, ...]]:
    """Return the skeleton of HTML, and the texts of its leaves; most parts of a page are the same every second."""
    texts = tuple(unescape(text) for _, _, text in _LEAF.findall(html))
    return _SHAPE.sub("", _LEAF.sub(r"<\1\2></\1>", html)), texts
