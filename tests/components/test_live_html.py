"""A part of a page is sent again only in its texts, as long as only they change."""

from pages.components.live_html import Parts, split

ROW = '<div class="dl"><b>{}</b><p>of <i style="--dot:#fff;clip-path:polygon(0% 1%)">{}</i></p><td></td></div>'


def drawn(**parts: str) -> Parts:
    return Parts({name: split(html)[0] for name, html in parts.items()})


def test_leaves_are_numbered_as_they_stand() -> None:
    assert split(ROW.format("a &lt;b&gt;", "0oo"))[1] == ["a <b>", "0oo", ""]


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
