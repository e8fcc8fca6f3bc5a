"""The visitor's view in Streamlit's session state: the controls' values, kept in step with the page's address.

The address wins when it was changed from outside (a link, the back button); the controls win when one of them was just
used. Each control's value has a key of its own in the session state.
"""

from typing import Any

import streamlit as st

from distill_core.data.datasets import Dataset
from distill_core.errors import DistillError
from distill_core.explanation.request import ExplanationRequest
from pages.components import resources
from pages.components.data_sources import HUB
from pages.components.explain.view_state import (
    DEFAULT,
    View,
    first_view,
    from_address,
    source_in,
    split_in,
    task_in,
    to_address,
)

HUB_ALLOWED = "explain.hub"  # whether this visitor allowed reading from the hub
_REQUEST_FIELDS = (
    "text",
    "text_pair",
    "teacher",
    "students",
    "method",
    "target",
    "baseline",
    "output",
    "units",
    "seed",
)
_FIELDS = (*_REQUEST_FIELDS, "example")
_SHOWN, _TOUCHED = "explain.address", "explain.touched"


def current_address() -> dict[str, list[str]]:
    """Return the page's query parameters; without any, those last shown, so that a visitor comes back to them."""
    address = {name: st.query_params.get_all(name) for name in st.query_params}
    return address or st.session_state.get(_SHOWN, {})


def load_controls(first: View, dataset: Dataset) -> None:
    """Set the controls from the address if it is newer, before any control is drawn.

    Raises ConfigError or ModelError for an address that names something unknown.
    """
    address = current_address()
    touched = st.session_state.pop(_TOUCHED, False)
    drawn_before = all(f"explain.{name}" in st.session_state for name in _FIELDS)  # not after a change of the source
    if drawn_before and (touched or address == st.session_state.get(_SHOWN)):
        return
    view = from_address(address, first, dataset)
    for name in _REQUEST_FIELDS:
        value = getattr(view.request, name)
        st.session_state[f"explain.{name}"] = list(value) if name == "students" else value
    st.session_state["explain.baseline"] = view.request.baseline or DEFAULT
    st.session_state["explain.example"] = view.example


def view_of_controls(dataset: Dataset, source: str, split: str) -> View:
    """Return the view that the controls are set to."""
    values = {name: st.session_state[f"explain.{name}"] for name in _REQUEST_FIELDS}
    values["students"] = tuple(values["students"])
    values["baseline"] = None if values["baseline"] == DEFAULT else values["baseline"]
    request = ExplanationRequest(task=dataset.task, **values)
    view = View(request, st.session_state["explain.example"], source, split)
    return view if view.is_example(dataset) else View(request, None, source, split)


def write_address(view: View) -> None:
    """Put the view into the page's address."""
    address = to_address(view)
    st.session_state[_SHOWN] = {name: [value] if isinstance(value, str) else value for name, value in address.items()}
    if {name: st.query_params.get_all(name) for name in st.query_params} != st.session_state[_SHOWN]:
        st.query_params.from_dict(address)


def show_view(view: View) -> None:
    """Draw the page again with another view than its controls are set to."""
    st.query_params.from_dict(to_address(view))
    st.rerun()


def drop_invalid_parameters() -> None:
    """Remove from the address what cannot be shown, and keep the rest: the text, the task, the method."""
    address = current_address()
    usable: dict[str, list[str]] = {}
    for names in (("task",), ("source", "split"), *((name,) for name in address)):
        extended = usable | {name: address[name] for name in names if name in address}
        if _can_be_shown(extended):
            usable = extended
    for key in [key for key in st.session_state if str(key).startswith("explain.")]:
        del st.session_state[key]
    st.query_params.from_dict(usable)


def _can_be_shown(address: dict[str, list[str]]) -> bool:
    source, split = source_in(address), split_in(address)
    if source == HUB and not st.session_state.get(HUB_ALLOWED):
        return False
    try:
        dataset = resources.examples(task_in(address), source, split)
        from_address(address, first_view(dataset, resources.task_models(dataset.task), source, split), dataset)
    except DistillError:
        return False
    return True


def keyed(name: str) -> dict[str, Any]:
    """Return the arguments that tie a control to its value, kept while the visitor is on another page."""
    return {"key": f"explain.{name}", "on_change": mark_touched, "persist_state": "session"}


def popover_keyed(name: str, *labels: str) -> dict[str, Any]:
    """Return the arguments that tie a control in a popover to its value; pass it the value as its default.

    A closed popover sends the label its control last had, whatever the page has set since: another value, or, with
    another method, another label. Hence each value, and each set of `labels`, has a control of its own.
    """
    key = ".".join(("explain", name, *labels, str(st.session_state[f"explain.{name}"])))
    return {"key": key, "on_change": _use_value, "args": (name, key)}


def _use_value(name: str, key: str) -> None:
    st.session_state[f"explain.{name}"] = st.session_state[key]
    mark_touched()


def mark_touched() -> None:
    """Note that a control was used, so that it wins over the address."""
    st.session_state[_TOUCHED] = True
