"""What a newcomer does: see the gap, press one button, watch a student learn, look through its eyes."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from distill_core.config.run_config import FIELDS
from distill_core.runs.store import Store
from tests.browser.conftest import Visitor

STOP_SECONDS = 10.0
POINTS = """key => {
    const chart = [...(globalThis.dlLive?.charts ?? [])].find((one) => one.name === key);
    return chart?.feed.series.get(chart.lines()[0].name)?.steps.length ?? 0;
}"""

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_see_the_gap_then_watch_a_student_learn(app: str, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(app)
    maps_of(page, models=3)
    visitor.keep("1-home")

    page.get_by_role("link", name="Explain", exact=True).first.click()
    maps_of(page, models=3)
    expect(page.locator(".dl-number").first).to_be_visible()
    typed = page.get_by_role("textbox", name="Sentence")
    expect(typed).not_to_be_empty()
    sentence = typed.input_value()
    visitor.keep("2-explain")

    page.get_by_role("link", name="Distill", exact=True).first.click()
    run_id = start(page, steps=400, evaluate_every=5)
    grows_by_itself(page)
    assert_first_screen(page)
    visitor.keep("3-learning")
    assert [run.id for run in Store().runs()] == [run_id], "a double click on Start makes one run"

    page.get_by_role("button", name="Stop", exact=True).click()
    asked = time.monotonic()
    page.locator(".dl-chip.dl-stopped").first.wait_for()
    assert time.monotonic() - asked < STOP_SECONDS
    link = page.get_by_role("link", name="Explain with this student")
    expect(link).to_be_visible()
    visitor.keep("4-stopped")

    link.click()
    page.wait_for_url(re.compile(rf"student=run(/|%2F){run_id}"))
    expect(page.locator(f'.dl-model[title="run/{run_id}"]')).to_be_visible()
    maps_of(page, models=2)
    assert page.get_by_role("textbox", name="Sentence").input_value() == sentence
    visitor.keep("5-new-student")
    assert visitor.outside() == []


def maps_of(page: Page, models: int) -> None:
    """Wait for complete maps of at least so many models, and for the page to come to rest."""
    page.locator(".dl-map .dl-cell").first.wait_for()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.locator(".dl-model").nth(models - 1)).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def start(page: Page, **numbers: int) -> str:
    """Fill in the form, press Start twice in a hurry, and return the run's id."""
    button = page.get_by_role("button", name="Start", exact=True)
    expect(button).to_be_enabled()
    page.get_by_text("More settings", exact=True).click()
    for name, value in numbers.items():
        field = page.get_by_role("spinbutton", name=FIELDS[name].label, exact=True)
        field.fill(str(value))
        field.press("Enter")
    expect(page.get_by_text(re.compile("training examples: "))).to_be_visible()
    button.dblclick()
    page.wait_for_url(re.compile(r"[?&]run="))
    return re.findall(r"run=([\w-]+)", page.url)[0]


def grows_by_itself(page: Page) -> None:
    """Wait for the loss curve to begin and both curves to grow, touching nothing."""
    page.wait_for_function(f"() => ({POINTS})('loss_curves') >= 2")
    before = page.evaluate(f"({POINTS})('loss_curves')")
    page.wait_for_function(f"() => ({POINTS})('loss_curves') >= {before + 5}")
    page.wait_for_function(f"() => ({POINTS})('agreement_curves') >= 3")


def assert_first_screen(page: Page) -> None:
    """Check that state, progress and both charts are to be seen without scrolling."""
    for part in (".dl-chip.dl-running", ".stProgress", ".st-key-loss_curves", ".st-key-agreement_curves"):
        box = page.locator(part).first.bounding_box()
        assert box is not None, part
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= 900, part
