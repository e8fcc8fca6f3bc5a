"""In Chromium: a file is added in its window, shown, and stays the source when the next sentence is asked for."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from distill_core.data.user_datasets import list_user_datasets
from tests.support.browser import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_file_is_added_and_stays_the_source(app: str, visitor: Visitor, tmp_path: Path) -> None:
    reviews = tmp_path / "films.csv"
    reviews.write_text("review,stars\n" + "".join(f"film number {at},{('pos', 'neg')[at % 2]}\n" for at in range(20)))
    page = visitor.page
    add(page, app, reviews)
    for number in ("1", "2"):
        page.wait_for_url(f"**&example={number}&**source=own**")
        page.locator(".st-key-explain-step-chevron_right button:visible").first.click()
    page.wait_for_url("**&example=3&**source=own**")
    (data,) = list_user_datasets("sst2")
    assert parse_qs(urlsplit(page.url).query)["source"] == [data.source]
    visitor.keep("own_data")
    assert visitor.outside() == []


def test_texts_on_both_sides_are_told_when_the_window_has_closed(app: str, visitor: Visitor, tmp_path: Path) -> None:
    texts = tmp_path / "twice.csv"
    texts.write_text("text,label,split\na fine film,1,train\nA fine film,1,dev\na poor film,0,dev\n")
    page = visitor.page
    add(page, app, texts)
    page.wait_for_url("**source=own**")
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_text("The texts of 1 of the 2 held-out rows").wait_for()


def add(page: Page, app: str, file: Path) -> None:
    """Add a file in the Explain page's window, as it is guessed."""
    page.goto(f"{app}/explain?source=bundled")
    page.locator("[data-testid=stPopoverButton]:visible").first.click()
    page.get_by_text("Add your own data").click()
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Add", exact=True).click()
