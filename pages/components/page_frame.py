"""The frame of every page: settings, logo, navigation, footer, error messages, and text safe for Markdown."""

import contextlib
import gc
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from distill_core.errors import ConfigError, DistillError
from distill_core.paths import APP, ASSETS, home
from distill_core.storage.filesystems import network_warning

NAME = "Distillation Lens"
PAGES = {  # script -> label; a page that is not there yet gets no link
    "pages/explain.py": "Explain",
    "pages/distill.py": "Distill",
    "pages/runs.py": "Runs",
    "pages/models.py": "Models",
}
_PAGES_WITH_RUNS = ("Home", "Distill", "Runs")  # the pages that show what the run store has
_DIALOG_OPEN = "window_open"
_IMPORT_LOCK = threading.Lock()
_frozen_modules = 0  # how many modules there were when they were last frozen


def begin_page(title: str) -> None:
    """Set the tab's title, style, logo and the links along the top; every page calls it first."""
    # The icon is a file: Streamlit would fetch a Material icon for the tab from the network.
    st.session_state.pop(_DIALOG_OPEN, None)  # a redrawn page has no dialog
    st.set_page_config(page_title=f"{title} · {NAME}", page_icon=ASSETS / "icon.png", layout="wide")
    st.html(ASSETS / "style.css")
    st.html(ASSETS / "figure.css")
    st.logo(str(ASSETS / "logo.svg"), size="medium")
    with st.container(key="nav", horizontal=True, gap="small", wrap=False):
        st.page_link("app.py", label=f"**{NAME}**")
        for script, label in PAGES.items():
            page_link(script, label)
    if title in _PAGES_WITH_RUNS:
        _warn_about_network_folder()


def _warn_about_network_folder() -> None:
    """Warn where the app's folder is on a network file system."""
    with contextlib.suppress(ConfigError):  # an unusable folder is reported where it is used
        if warning := network_warning(home()):
            st.warning(escape_markdown(warning), icon=":material/lan:")


def note_dialog_open() -> None:
    """Note that a dialog is being opened: redrawing the page would close it and lose what is typed."""
    st.session_state[_DIALOG_OPEN] = True


def note_dialog_closed() -> None:
    """Note that the dialog is closed; pass this to `st.dialog` as `on_dismiss`."""
    st.session_state.pop(_DIALOG_OPEN, None)


def dialog_open() -> bool:
    """Return whether this visitor has a dialog open."""
    return _DIALOG_OPEN in st.session_state


def warn_about_damaged_stores(damaged: Sequence[Path]) -> None:
    """Warn about damaged run stores that were moved aside."""
    for aside in damaged:
        st.warning(
            escape_markdown(
                f"The run store was damaged and has been moved to {aside}. New runs are in a new store; students of "
                "earlier runs can still be explained. Delete that file to dismiss this message."
            ),
            icon=":material/healing:",
        )


def page_link(script: str, label: str, icon: str | None = None, **parameters: str | list[str]) -> None:
    """Draw a link to a page of this app, with query parameters; nothing where the page does not exist."""
    if (APP / script).is_file():
        st.page_link(script, label=label, icon=icon, query_params=parameters or None)


@contextmanager
def loading(words: str) -> Iterator[None]:
    """Import the modules of a page after its frame is shown, one page at a time.

    Two pages that start together, as after a restart, would import the same modules in two threads, and each would see
    modules that the other has only partly executed.
    """
    with st.spinner(words), _IMPORT_LOCK:
        yield
    freeze_imports()


def freeze_imports() -> None:
    """Keep the modules imported so far out of garbage collection, once for each set of new modules.

    Streamlit collects garbage after every script run; scanning torch and other large libraries takes 0.2 seconds.
    """
    global _frozen_modules
    if len(sys.modules) > _frozen_modules:
        with _IMPORT_LOCK:
            _frozen_modules = len(sys.modules)
            gc.collect()
            gc.freeze()


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show a `DistillError` raised inside as a message ; any other error is raised."""
    try:
        yield
    except DistillError as error:
        show_error(error)


def show_error(error: DistillError) -> None:
    """Show an error's message as plain text."""
    st.error(escape_markdown(str(error)), icon=":material/error:")


def draw_footer(text: str) -> None:
    """Draw a caption at the end of a page, such as the source of its data."""
    st.caption(escape_markdown(text))


def draw_scroll_hint() -> None:
    """Say, in a narrow window only, that the table below can be moved sideways."""
    st.html('<p class="dl-scroll-hint">Swipe the table sideways to see all columns.</p>')


def escape_markdown(text: str) -> str:
    """Return text that Streamlit's Markdown shows unchanged: no markup, directive, formula, emoji code or link.

    Direction overrides are removed and right-to-left text is isolated, so that the text around it keeps its direction.
    """
    text = _DIRECTION_OVERRIDES.sub("", text)
    if any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text):
        text = f"\u2068{text}\u2069"  # an isolate, as <bdi> is in HTML
    for mark in _AUTOLINK_MARKS:
        text = re.sub(mark, "\\g<0>\u2060", text, flags=re.IGNORECASE)  # addresses become links even when escaped
    return "".join(f"\\{letter}" if letter in _MARKDOWN_CHARACTERS else letter for letter in text)


_DIRECTION_OVERRIDES = re.compile("[\u202a-\u202e\u2066-\u2069]")  # they change the reading direction
_AUTOLINK_MARKS = ("://", "www", "@")
_MARKDOWN_CHARACTERS = frozenset("\\`*_{}[]<>()#+-.!|~$:&\"'^=")
