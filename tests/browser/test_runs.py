"""The runs page: rows are ticked, their curves lie over each other, and they are deleted."""

import re

import pytest
from playwright.sync_api import expect

from benchmarks.live_tick import Worker
from distill_core.runs.store import Store
from tests.support.browser import Visitor
from tests.support.stored_runs import ended_run

ROW, HALF, BOX = 35, 17, 18  # pixels: a row's height, its middle, the middle of its box to tick
CURVES = (
    "metric => [...(globalThis.dlLive?.feeds.get('overlay')?.series.keys() ?? [])].filter((n) => n.endsWith(metric))"
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_runs_are_ticked_compared_and_deleted(app: str, visitor: Visitor) -> None:
    store, page = Store(), visitor.page
    one, other = ended_run(store, name="one", method="kd"), ended_run(store, name="other", method="gkd")
    page.goto(f"{app}/runs")
    table = page.get_by_test_id("stDataFrame")
    table.locator("canvas").first.wait_for()
    for row in (1, 2):
        table.click(position={"x": BOX, "y": ROW * row + HALF})
        expect(page.locator(".st-key-selected_runs .dl-row")).to_have_count(row)
    assert set(re.findall(r"run=([\w-]+)", page.url)) == {one, other}
    expect(page.locator(".dl-settings").get_by_text("Plain KD")).to_be_visible()
    page.wait_for_function(f"() => ({CURVES})('validation/accuracy').length === 2")

    page.get_by_role("combobox", name="Curve").first.click()
    page.get_by_role("option", name=re.compile("Cosine of signed maps")).click()
    page.wait_for_function(f"() => ({CURVES})('agreement/signed_cosine').length === 2")
    expect(page.get_by_test_id("stException")).to_have_count(0)
    visitor.keep("7-runs")

    page.reload()
    expect(page.locator(".st-key-selected_runs .dl-row")).to_have_count(2)
    page.wait_for_function(f"() => ({CURVES})('loss').length === 2")

    page.get_by_role("button", name="Delete (2)").click()
    page.get_by_role("button", name="Delete permanently").click()
    page.get_by_text("There are no runs yet").wait_for()
    assert store.runs() == []
    assert visitor.outside() == []


@pytest.fixture
def ended_id(app: str) -> str:
    """Return a run that has ended, made before another holds the device."""
    assert app
    return ended_run(Store(), name="ended")


def test_an_open_window_outlasts_the_end_of_another_run(
    app: str, visitor: Visitor, ended_id: str, worker: Worker
) -> None:
    page, frames = visitor.page, list[int]()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(len(data))))
    page.goto(f"{app}/distill?run={ended_id}")
    page.get_by_role("button", name="Manage").click()
    note = page.get_by_role("textbox", name="Note")
    note.fill("half a sentence")
    page.locator(".st-key-runs .dl-running").wait_for()
    worker.end()
    frames.clear()
    while len(frames) < 8:  # at least two looks at the queue
        page.wait_for_timeout(200)
    expect(note).to_have_value("half a sentence")
    page.keyboard.press("Escape")
    page.locator(".st-key-runs .dl-running").wait_for(state="detached")
    expect(page.get_by_text("ended: finished")).to_have_count(0)
