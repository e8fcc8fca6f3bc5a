"""What a newcomer does: see the gap, press one button, watch a student learn, look through its eyes."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from distill_core.runs.store import Store
from tests.support.browser import Visitor
from tests.support.browser_steps import start_run, wait_for_growing_curves, wait_for_maps

STOP_SECONDS = 10.0

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_see_the_gap_then_watch_a_student_learn(app: str, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(app)
    wait_for_maps(page, models=3)
    visitor.keep("1-home")

    page.get_by_role("link", name="Explain", exact=True).first.click()
    wait_for_maps(page, models=3)
    expect(page.locator(".dl-number").first).to_be_visible()
    typed = page.get_by_role("textbox", name="Sentence")
    expect(typed).not_to_be_empty()
    sentence = typed.input_value()
    visitor.keep("2-explain")

    page.get_by_role("link", name="Distill", exact=True).first.click()
    run_id = start_run(page, steps=400, evaluate_every=5)
    wait_for_growing_curves(page)
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
    wait_for_maps(page, models=2)
    assert page.get_by_role("textbox", name="Sentence").input_value() == sentence
    visitor.keep("5-new-student")
    assert visitor.outside() == []


def assert_first_screen(page: Page) -> None:
    """Check that state, progress and both charts are to be seen without scrolling."""
    for part in (".dl-chip.dl-running", ".stProgress", ".st-key-loss_curves", ".st-key-agreement_curves"):
        box = page.locator(part).first.bounding_box()
        assert box is not None, part
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= 900, part
