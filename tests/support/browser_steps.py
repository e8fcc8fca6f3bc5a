"""Steps that several browser tests take on the pages."""

import re

from playwright.sync_api import Page, expect

from distill_core.config.run_config import FIELDS

FEW_TOKENS = {"max_length": 8, "batch_size": 4}  # short texts: the page is tested, not what the student learns
POINTS = """key => {
    const chart = [...(globalThis.dlLive?.charts ?? [])].find((one) => one.name === key);
    return chart?.feed.series.get(chart.lines()[0].name)?.steps.length ?? 0;
}"""


def wait_for_maps(page: Page, models: int) -> None:
    """Wait for complete maps of at least so many models, and for the page to come to rest."""
    page.locator(".dl-map .dl-cell").first.wait_for()
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    expect(page.locator(".dl-model").nth(models - 1)).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


def start_run(page: Page, **numbers: int) -> str:
    """Fill in the form, press Start twice in a hurry, and return the run's id; its texts are cut to a few tokens."""
    button = page.get_by_role("button", name="Start", exact=True)
    expect(button).to_be_enabled()
    page.get_by_text("More settings", exact=True).click()
    for name, value in (FEW_TOKENS | numbers).items():
        field = page.get_by_role("spinbutton", name=FIELDS[name].label, exact=True)
        field.fill(str(value))
        field.press("Enter")
    expect(page.get_by_text(re.compile("training examples: "))).to_be_visible()
    button.dblclick()
    page.wait_for_url(re.compile(r"[?&]run="))
    return re.findall(r"run=([\w-]+)", page.url)[0]


def wait_for_growing_curves(page: Page) -> None:
    """Wait for the loss curve to begin and both curves to grow, touching nothing."""
    page.wait_for_function(f"() => ({POINTS})('loss_curves') >= 2")
    before = page.evaluate(f"({POINTS})('loss_curves')")
    page.wait_for_function(f"() => ({POINTS})('loss_curves') >= {before + 5}")
    page.wait_for_function(f"() => ({POINTS})('agreement_curves') >= 3")
