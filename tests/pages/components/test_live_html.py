"""A part of a page is sent again only in its texts, as long as only they change."""

from html.parser import HTMLParser

from distill_core.config.run_config import RunConfig
from distill_core.data.tasks import get_task
from distill_core.runs.events import DataUsed
from distill_core.runs.metric_names import evaluated_names
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from pages.components.live_html import Parts, split
from pages.components.run import detail, markup
from tests.support.stored_runs import FAKE_TOKEN

ROW = '<div class="dl"><b>{}</b><p>of <i style="--dot:#fff;clip-path:polygon(0% 1%)">{}</i></p><td></td></div>'


def drawn(**parts: str) -> Parts:
    return Parts({name: split(html)[0] for name, html in parts.items()})


def test_leaves_are_numbered_as_they_stand() -> None:
    assert split(ROW.format("a &lt;b&gt;", "0oo"))[1] == ("a <b>", "0oo", "")


def test_only_texts_that_changed_are_sent() -> None:
    page = drawn(row=ROW.format("1", "x"), other=ROW.format("1", "x"))
    first = {"row": ROW.format("1", "x"), "other": ROW.format("1", "x")}
    assert page.changes(first)["row"] == [(0, "1"), (1, "x"), (2, "")]  # what the browser has made of it is not known
    assert page.changes(first) == {}
    assert page.changes(first | {"row": ROW.format("2", "x")}) == {"row": [(0, "2")]}


def test_more_than_texts_does_not_fit() -> None:
    page = drawn(row=ROW.format("1", "x"))
    assert page.fit({"row": ROW.format("2", "y").replace("0% 1%", "0% 7%")})
    assert not page.fit({"row": ROW.format("2", "y").replace('class="dl"', 'class="dl-alarm"')})
    assert not page.fit({"row": ROW.format("1", "x"), "another": "<p>new</p>"})
    assert page.changes({"row": "<p>new</p>"}) == {}


class Leaves(HTMLParser):
    """What a browser finds: the texts of the elements that hold no element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[int, str, bool]] = []
        self.found: dict[int, str] = {}
        self.feed(html)
        self.close()
        self.texts = [self.found[at] for at in sorted(self.found)]

    def handle_starttag(self, tag: str, attrs: object) -> None:
        del tag, attrs
        self.open = [(at, text, False) for at, text, _ in self.open]
        self.open.append((self.getpos()[0] * 10**6 + self.getpos()[1], "", True))

    def handle_data(self, data: str) -> None:
        if self.open:
            at, text, leaf = self.open.pop()
            self.open.append((at, text + data, leaf))

    def handle_endtag(self, tag: str) -> None:
        del tag
        at, text, leaf = self.open.pop()
        if leaf:
            self.found[at] = text


def test_a_pages_parts_have_the_leaves_a_browser_finds(store: Store) -> None:
    nasty = "a < b <b>c</b> & 'd' \"e\" > f"
    config = RunConfig(name=nasty, device="cpu", method="gkd")
    run_id = enqueue(store, config)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    shares = [(step, f"share/{name}", value) for step in range(1, 9) for name, value in (("ce", 1e-5), ("gkd", 0.9))]
    points = [(step, name, 0.5) for step in (0, 8) for name in (*evaluated_names(get_task("sst2")), "loss", "ce")]
    store.write(run_id, FAKE_TOKEN, [*shares, *points], None, [DataUsed("train", nasty, 20, "ab")])
    store.annotate(run_id, note=nasty, tags=[nasty])
    run = store.get(run_id)
    parts = detail.run_parts(store, run, detail.receive_points(store, run)) | detail.row_parts(store)
    parts["log"] = markup.log_tail([nasty, "< 1 %"])
    assert "&lt; 1 %" in parts["loss"]
    for name, html in parts.items():
        assert list(split(html)[1]) == Leaves(html).texts, name
