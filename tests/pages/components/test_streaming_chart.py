"""A feed sends each point once, numbered, and begins anew when it is asked to or becomes another."""

import base64
import json
import math
import struct
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.streaming_chart import packed


def numbers(text: str) -> list[float]:
    short = base64.b64decode(text)
    wide = b"".join(b"\0" + short[at : at + 3] for at in range(0, len(short), 3))
    return list(struct.unpack(f"<{len(wide) // 4}f", wide))


def test_metrics_of_the_same_steps_travel_together() -> None:
    points = {"loss": [(1, 0.5), (2, math.nan)], "ce": [(1, 1.5), (2, 0.25)], "agreement": [(0, 0.75)], "none": []}
    losses, agreement = packed(points)
    assert losses["steps"] == [[1, 2]]
    assert numbers(losses["values"]["ce"]) == [1.5, 0.25]
    assert math.isnan(numbers(losses["values"]["loss"])[1])
    assert (agreement["steps"], list(agreement["values"])) == ([[0, 1]], ["agreement"])


def test_a_number_keeps_four_digits_and_steps_apart_are_told_apart() -> None:
    (found,) = packed({"loss": [(1, 0.123456), (2, -9.87654e-5), (20, 12345678.0)]})
    assert found["steps"] == [[1, 2], [20, 1]]
    assert numbers(found["values"]["loss"]) == pytest.approx([0.123456, -9.87654e-5, 12345678.0], rel=4e-5)


def script() -> None:
    import streamlit as st

    from pages.components.streaming_chart import Mark, Notes, forget, send

    if st.session_state.get("lost"):
        forget("run.1")
    points = {"loss": [(step, float(step)) for step in range(st.session_state["points"])]}
    send(
        "run.1", st.session_state.get("stamp", ""), points, notes={"chart": Notes([Mark(st.session_state["best"], "")])}
    )


def message(page: AppTest, **state: Any) -> dict[str, Any]:
    for name, value in state.items():
        page.session_state[name] = value
    page.run()
    assert not page.exception
    (feed,) = page.get("bidi_component")
    return dict(json.loads(feed.proto.json))


def test_each_point_is_sent_once() -> None:
    page = AppTest.from_function(script, default_timeout=30)
    first = message(page, points=3, best=1)
    assert (first["number"], first["points"][0]["steps"]) == (0, [[0, 3]])
    assert first["notes"]["chart"]["marks"] == [{"step": 1, "title": ""}]
    second = message(page, points=5)
    assert (second["number"], second["points"][0]["steps"], second["notes"]) == (1, [[3, 2]], {})
    third = message(page, best=4)
    assert (third["points"], third["notes"]["chart"]["marks"]) == ([], [{"step": 4, "title": ""}])


def test_a_feed_begins_anew() -> None:
    page = AppTest.from_function(script, default_timeout=30)
    before = message(page, points=3, best=1)
    again = message(page, points=5, lost=True)  # a browser missed a message
    assert again["stamp"] != before["stamp"], "else the next message passes for one from before"
    assert (again["number"], again["points"][0]["steps"]) == (0, [[0, 5]])
    assert again["notes"]
    following = message(page, lost=False)
    assert (following["number"], following["stamp"]) == (1, again["stamp"])
    other = message(page, points=2, stamp="the second attempt")
    assert (other["number"], other["points"][0]["steps"]) == (0, [[0, 2]])
