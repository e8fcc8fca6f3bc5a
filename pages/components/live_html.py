"""HTML on the page whose texts change: only the new texts are sent to the browser, not the page.

A part is drawn once, as `<div data-live="NAME">`. Its leaves, elements that contain text and no element, are numbered
in document order; the HTML without their texts is its skeleton. While the skeleton is unchanged, new texts are enough.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape, unescape

import streamlit as st

from pages.components.streaming_chart import Texts

_LEAF = re.compile(r"<(\w+)((?: [^<>]*)?)>([^<]*)</\1>")
_SHAPE = re.compile(r";clip-path:polygon\([^)]*\)")  # the browser computes it from the leaf's text


@dataclass
class Parts:
    """The parts of a page as a session's browser shows them."""

    skeletons: dict[str, str] = field(default_factory=dict)
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By name, for the parts whose texts the browser is known to show."""

    def draw(self, name: str, html: str) -> None:
        """Draw a part while the page is drawn; an empty one takes no space.

        Its texts count as unknown: a browser that received the same HTML earlier keeps the texts it has changed since.
        """
        self.skeletons[name] = split(html)[0]
        if html:
            st.html(f'<div data-live="{escape(name, quote=True)}">{html}</div>', width="stretch")

    def fit(self, parts: Mapping[str, str]) -> bool:
        """Return whether these parts differ from the drawn ones in their texts only."""
        return self.skeletons == {name: split(html)[0] for name, html in parts.items()}

    def changes(self, parts: Mapping[str, str]) -> Texts:
        """Return the leaves of these parts with new texts, and record them as sent."""
        new: dict[str, list[tuple[int, str]]] = {}
        for name, html in parts.items():
            skeleton, after = split(html)
            if self.skeletons.get(name) != skeleton:
                continue
            before = self.texts.get(name)
            changed = [(at, text) for at, text in enumerate(after) if before is None or before[at] != text]
            if changed:
                new[name], self.texts[name] = changed, after
        return new


@lru_cache(maxsize=128)
def split(html: str) -> tuple[str, tuple[str, ...]]:
    """Return the skeleton of HTML and the texts of its leaves; cached, as most parts are the same at every tick."""
    texts = tuple(unescape(text) for _, _, text in _LEAF.findall(html))
    return _SHAPE.sub("", _LEAF.sub(r"<\1\2></\1>", html)), texts
