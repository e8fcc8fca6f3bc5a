"""A run outlives the page that started it and the server that showed it; what comes back is the whole of it."""

import pytest
from playwright.sync_api import expect

from distill_core.runs.store import Store
from tests.support.browser import Server, Visitor
from tests.support.browser_steps import POINTS, start_run, wait_for_growing_curves
from tests.support.waiting import until

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_run_outlives_a_reload_and_a_killed_server(server: Server, visitor: Visitor) -> None:
    page = visitor.page
    page.goto(f"{server.address}/distill")
    page.get_by_role("button", name="Start", exact=True).wait_for()
    run_id = start_run(page, steps=5000, evaluate_every=20)
    wait_for_growing_curves(page)
    seen = page.evaluate(f"({POINTS})('loss_curves')")

    def assert_all_is_there(points: int) -> None:
        page.wait_for_function(f"() => ({POINTS})('loss_curves') >= {points}")
        expect(page.locator(".dl-chip.dl-running").first).to_be_visible()
        expect(page.locator(".dl-log")).to_contain_text("validation/accuracy")

    page.reload()
    assert_all_is_there(seen)

    server.kill()
    step = Store().get(run_id).step
    assert until(lambda: Store().get(run_id).step > step + 3, 60), "the run goes on without a server"
    server.start()
    page.goto(f"{server.address}/distill?run={run_id}")
    assert_all_is_there(step + 3)
    wait_for_growing_curves(page)
    visitor.keep("outlived")

    losses = [point.step for point in Store().metrics(run_id, names=("loss",))]
    assert losses == list(range(1, len(losses) + 1)), "no point is lost, none is there twice"
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator(".dl-chip.dl-stopped").first.wait_for()
    assert visitor.outside() == []
