"""A task that is unlike SST-2, in a browser: explained on bundled models, and a student distilled.

Scores of pairs are the least like it; three classes of pairs come with EVERY_METHOD=1.
"""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from distill_core.data.tasks import get_task
from distill_core.runs.store import Store
from tests.support.browser import Visitor
from tests.support.browser_steps import start_run, wait_for_maps
from tests.support.crossing import every_method

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("name", ["stsb", "mnli"] if every_method() else ["stsb"])
def test_explained_then_distilled(app: str, visitor: Visitor, name: str) -> None:
    page, task = visitor.page, get_task(name)
    page.goto(f"{app}/explain?target=all")
    choose(page, "Task", task.short_title)
    page.wait_for_url(re.compile(f"task={name}"))
    expect(page.get_by_role("textbox", name=task.text_titles[1], exact=True)).not_to_be_empty()
    wait_for_maps(page, models=3)
    expect(page.locator(".dl-map")).to_have_count(2 * (1 if task.classes == 1 else task.classes))
    for label in task.labels:
        expect(page.get_by_text(label, exact=False).first).to_be_visible()
    visitor.keep(f"6-explain-{name}")

    page.get_by_role("link", name="Distill", exact=True).first.click()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    expect(page.get_by_role("combobox", name="Task")).to_have_count(1)  # Explain's is gone
    choose(page, "Task", task.short_title)
    expect(page.get_by_role("combobox", name="Teacher")).to_have_value(re.compile("Teacher"))
    run_id = start_run(page, steps=4, evaluate_every=2)
    deadline = time.monotonic() + 90
    while Store().get(run_id).active and time.monotonic() < deadline:  # the page lists other finished runs, too
        page.wait_for_timeout(300)
    page.locator(".dl-chip.dl-finished").first.wait_for()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert Store().get(run_id).config.task == name
    assert Store().latest(run_id).keys() >= {f"validation/{metric}" for metric in task.metrics}
    visitor.keep(f"7-distilled-{name}")
    assert visitor.outside() == []


def test_a_closed_popover_does_not_bring_back_its_former_settings(app: str, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{app}/explain")
    wait_for_maps(page, models=3)
    page.locator(".st-key-controls").get_by_test_id("stPopoverButton").filter(visible=True).click()
    choose(page, "Baseline", "Zero")
    page.wait_for_url(re.compile("baseline=zero"))
    page.get_by_role("heading", name="Scores as bars").click()  # closes the popover
    page.go_back()
    page.wait_for_url(re.compile("baseline=default"))
    wait_for_maps(page, models=3)
    choose(page, "Method", "Occlusion")
    page.wait_for_url(re.compile("method=occlusion"))
    assert "baseline=default" in page.url
    wait_for_maps(page, models=3)
    choose(page, "Task", "CoLA")
    page.wait_for_url(re.compile("task=cola.*teacher=.*baseline=default"))
    wait_for_maps(page, models=3)
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a select box by its words."""
    page.get_by_role("combobox", name=label).first.click()
    page.get_by_role("option", name=option, exact=True).click()
