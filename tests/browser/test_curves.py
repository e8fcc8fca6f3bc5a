"""Curves in the browser: their numbers, and a run's page that grows under its visitor's eyes."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks.live_tick import Worker, as_bytes, kind_of
from pages.components.streaming_chart import _CURVES, SCRIPTS, packed
from tests.support.browser import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HELD = "name => globalThis.dlLive?.feeds.get(name)?.series.get('loss')?.steps.length ?? 0"
TICK_BYTES = 4000


@pytest.fixture
def module(visitor: Visitor) -> Page:
    """Return an empty page with the charts' functions as `curves`."""
    source = "\n".join((_CURVES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    blob = "new Blob([text], {type: 'text/javascript'})"
    load = f"async text => {{ globalThis.curves = await import(URL.createObjectURL({blob})) }}"
    visitor.page.evaluate(load, source)
    return visitor.page


def call(page: Page, what: str, *given: Any) -> Any:
    return page.evaluate(f"given => curves.{what}(...given)", list(given))


def test_thinning_keeps_the_ends_the_peaks_and_the_gaps(module: Page) -> None:
    code = """() => {
        const places = Array.from({length: 10000}, (_, at) => at), values = places.map((at) => Math.sin(at / 9));
        [values[4321], values[8765]] = [50, -50];
        values.fill(NaN, 2000, 3000);
        return [curves.thinned(places, values, 0, 9999, 250), curves.thinned(places, values, 100, 140, 250)];
    }"""
    kept, few = module.evaluate(code)
    assert len(kept) <= 4 * 250
    assert (kept[0], kept[-1]) == (0, 9999)
    assert {4321, 8765} <= set(kept)
    assert kept == sorted(set(kept))
    assert any(2000 <= at < 3000 for at in kept)
    assert few == list(range(99, 141))


def test_smoothing_is_the_mean_with_falling_weights(module: Page) -> None:
    first, second, third = call(module, "smoothed", [1.0, 3.0, 2.0], 0.5)
    assert first == 1.0
    assert second == pytest.approx((0.5 * 1 + 1 * 3) / 1.5)
    assert third == pytest.approx((0.25 * 1 + 0.5 * 3 + 1 * 2) / 1.75)
    assert call(module, "smoothed", [0.7] * 50, 0.99) == pytest.approx([0.7] * 50)
    assert module.evaluate("() => Number.isNaN(curves.smoothed([1, NaN, 2], 0.5)[1])")


def test_points_stand_over_steps_examples_or_minutes(module: Page) -> None:
    series, clock = {"steps": [0, 2, 3], "values": [1, 2, 3]}, {"steps": [1, 2, 3], "values": [30, 30, 60]}
    assert call(module, "placed", series, "step", 8, clock) == [0, 2, 3]
    assert call(module, "placed", series, "examples", 8, clock) == [0, 16, 24]
    assert call(module, "placed", series, "time", 8, clock) == [0, 1, 2]
    untold = {"steps": [1, 2], "values": [30, 30]}
    assert call(module, "placed", series, "time", 8, untold) == [0, 1]


def test_stacked_curves_add_up(module: Page) -> None:
    lower, upper = ({"places": [1, 2], "values": values} for values in ([1, 2], [10, 20]))
    sums = call(module, "stacked", [lower, upper])
    assert [one["values"] for one in sums] == [[1, 2], [11, 22]]
    assert sums[1]["floor"] == [1, 2]


def test_a_panel_shows_what_is_there_and_losses_from_zero(module: Page) -> None:
    curve = {"places": [0, 10, 20], "values": [0.8, None, 0.9]}
    loss, metric = ({"curves": [curve], "bounded": bounded, "levels": []} for bounded in (False, True))
    assert call(module, "rangeOf", loss, 0, 20, False) == pytest.approx([0, 0.945])
    assert call(module, "rangeOf", loss, 0, 20, True) == pytest.approx([0.794, 0.906])  # zoomed
    sums = {**loss, "curves": [{**curve, "floor": [0, 0, 0]}]}
    assert call(module, "rangeOf", sums, 0, 20, True) == pytest.approx([0, 0.945])
    assert call(module, "rangeOf", metric, 0, 20, False) == pytest.approx([0.792, 0.908])
    level = {**metric, "levels": [{"value": 0.5}]}
    assert call(module, "rangeOf", level, 0, 20, False) == pytest.approx([0.468, 0.932])
    flat = {**metric, "curves": [{"places": [0], "values": [1.0]}]}
    assert call(module, "rangeOf", flat, 0, 20, False) == pytest.approx([0.95, 1.03])  # never less than so much
    assert call(module, "rangeOf", {**metric, "curves": []}, 0, 20, False) == [0, 1]


def test_the_words_of_levels_stay_in_their_panel_and_cover_nothing(module: Page) -> None:
    def placed(*values: float, low: float = 0.0) -> list[tuple[float, bool, bool]]:
        levels = [{"value": value, "caption": ""} for value in values]
        found = call(module, "captions", {"top": 0, "bottom": 100, "low": low, "high": 1.0, "levels": levels})
        return [(one["value"], one["above"], one["first"]) for one in found]

    assert placed(0.5) == [(0.5, False, False)]
    assert placed(0.05) == [(0.05, True, False)]
    assert placed(0.4, 0.6) == [(0.6, True, False), (0.4, False, False)]
    assert placed(0.05, 0.95) == [(0.95, False, False), (0.05, True, False)]
    assert placed(0.5, 0.5) == [(0.5, True, False), (0.5, False, False)]
    assert placed(0.95, 0.96) == [(0.96, False, False), (0.95, False, True)]  # at the other end
    assert placed(0.3, low=0.4) == []  # zoomed away


def test_what_stands_under_the_pointer_is_named_by_its_own_place(module: Page) -> None:
    layout = {"panels": [{"curves": [{"places": [0, 20, 40]}]}, {"curves": [{"places": []}, {"places": [0, 39]}]}]}
    assert [call(module, "pointNear", layout, place) for place in (2, 12, 33, 99)] == [0, 20, 39, 40]


def test_axes_have_round_numbers(module: Page) -> None:
    assert call(module, "ticks", 0, 200, 5) == [0, 50, 100, 150, 200]
    assert call(module, "ticks", -0.03, 1.03, 2.2) == [0, 0.5, 1]
    assert call(module, "logTicks", 0.01, 100, 4) == [0.01, 0.1, 1, 10, 100]
    assert [call(module, "words", value) for value in (0.25, -1234567, 1e-9)] == ["0.25", "−1,234,567", "1.0e−9"]


def test_a_missing_message_is_noticed_and_nothing_is_taken_twice(module: Page) -> None:
    def message(number: int, steps: range, stamp: str = "a") -> dict[str, Any]:
        points = packed({"loss": [(step, float(step)) for step in steps]})
        return {"feed": "f", "stamp": stamp, "number": number, "points": points, "notes": {}, "texts": {}}

    messages = [message(1, range(3, 5)), message(0, range(3)), message(1, range(3, 5)), message(1, range(3, 5))]
    messages += [message(3, range(9, 10)), message(4, range(9), "b"), message(0, range(9), "b")]
    code = """messages => messages.map((message) => {
        const feed = curves.feedOf(message.feed);
        return [curves.take(feed, message), feed.series.get('loss')?.values.length ?? 0];
    })"""
    taken = module.evaluate(code, messages)
    assert taken == [["gap", 0], ["taken", 3], ["taken", 5], ["known", 5], ["gap", 5], ["gap", 5], ["taken", 9]]


def test_a_feed_that_starts_again_unseen_is_asked_for_until_it_is_there(module: Page) -> None:
    def message(stamp: str, number: int, count: int) -> dict[str, Any]:
        points = packed({"loss": [(step, float(step)) for step in range(count)]})
        return {"feed": "f", "stamp": stamp, "number": number, "points": points, "notes": {}, "texts": {}}

    def outcomes(*messages: dict[str, Any]) -> list[Any]:
        code = """messages => messages.map((message) => {
            const feed = curves.feedOf(message.feed), outcome = curves.take(feed, message);
            return outcome === 'gap' ? curves.asks(feed, message) : outcome;
        })"""
        return list(module.evaluate(code, messages))

    assert outcomes(*(message("a", number, 0) for number in range(4))) == ["taken"] * 4
    assert outcomes(message("a", 5, 0)) == [True]
    # the answer's first message never arrives, and the numbers of the next ones are known from the feed before
    assert outcomes(message("b", 1, 0), message("b", 2, 0)) == [True, False]
    # neither does the answer to the second request, nor any sign of it
    assert outcomes(*(message("b", number, 0) for number in range(3, 7))) == [False, False, False, True]
    assert outcomes(message("c", 0, 7), message("c", 0, 7), message("c", 1, 0)) == ["taken", "known", "taken"]
    assert module.evaluate("() => curves.feedOf('f').series.get('loss').values.length") == 7


def test_a_live_run_grows_under_its_visitor(app: str, visitor: Visitor, worker: Worker) -> None:
    page = visitor.page
    feed, frames = f"run.{worker.run_id}", []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(as_bytes(data))))
    page.goto(f"{app}/distill?run={worker.run_id}")
    held(page, feed, 2000)
    page.mouse.wheel(0, 120)
    canvas = page.locator(".st-key-loss_curves canvas")
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 150, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 100, steps=4)
    page.mouse.up()
    before = page.evaluate(SEEN, feed)
    assert before["range"]
    canvas.evaluate("canvas => { canvas.same = true }")
    frames.clear()
    worker.train(10)
    held(page, feed, 2010)
    assert page.evaluate(SEEN, feed) == before, "zoom and scroll position survive a tick"
    assert canvas.evaluate("canvas => canvas.same"), "the chart was not made anew"
    page.locator('[data-live="loss"]').get_by_text(page.evaluate(LATEST, feed)).first.wait_for()
    begins = [at for at, frame in enumerate(frames) if kind_of(frame) == "new_session"]
    tick = max(sum(map(len, frames[one:other])) for one, other in zip(begins, [*begins[1:], None], strict=True))
    assert tick < TICK_BYTES, json.dumps([(kind_of(frame), len(frame)) for frame in frames])
    page.reload()
    held(page, feed, 2010)
    worker.train(5)
    held(page, feed, 2015)
    visitor.keep("6-live")


def held(page: Page, feed: str, points: int) -> None:
    page.wait_for_function(f"name => ({HELD})(name) === {points}", arg=feed)


SEEN = "name => ({range: dlLive.views.get(name).range, top: document.querySelector('.stMain').scrollTop})"
LATEST = "name => String(Number(dlLive.feeds.get(name).series.get('loss').values.at(-1).toPrecision(3)))"
