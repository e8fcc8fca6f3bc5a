"""The map shows any text as the text it is, keeps rows aligned, and stays readable on both papers."""

import re
from html.parser import HTMLParser

import pytest

from pages.components.explain.heatmap import MapRow, difference, heatmap, legend, normalised
from pages.components.palette import contrast, shade

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Reads HTML as a browser would: what text is there, what attributes, how many cells a column has."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tokens: list[str] = []
        self.directions: list[str | None] = []
        self.columns: list[int] = []
        self.feed(html)
        self.close()
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open += [] if tag in VOID else [tag]
        kind = dict(attrs).get("class") or ""
        if kind == "dl-column":
            self.columns.append(0)
        if kind == "dl-token":
            self.tokens.append("")
            self.directions.append(dict(attrs).get("dir"))
        if kind.startswith("dl-cell"):
            self.columns[-1] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "bdi":
            self.tokens[-1] += data


def drawn(*tokens: str, label: str = "Teacher", rows: int = 2) -> str:
    values = tuple(0.5 for _ in tokens)
    made = [MapRow(label, ("#6f7785",), values, values) for _ in range(rows)]
    return heatmap(tokens, tokens, range(len(tokens)), [False] * len(tokens), made)


@pytest.mark.parametrize(
    "token",
    [
        "<script>alert(1)</script>",
        "</span></div>",
        '" onmouseover="alert(1)',
        "' onclick='x",
        "&lt;b&gt;",
        "**bold** [x](http://a) $x$ :smile:",
        "😀",
        "שלום",
        "a\u202eb",
    ],
)
def test_a_token_is_shown_as_the_text_it_is(token: str) -> None:
    reader = Reader(drawn("good", token))
    assert reader.tokens == ["good", token]
    assert set(reader.tags) == {"div", "bdi", "span"}
    assert {name for name, _ in reader.attributes} == {"class", "dir", "role", "aria-label", "data-row", "style"}
    assert f"\u2068{token}\u2069 · Teacher: +0.500 (raw 0.5)" in [value for _, value in reader.attributes]
    assert reader.directions == ["auto", "auto"]


def test_a_label_is_escaped() -> None:
    reader = Reader(drawn("good", label='"><script>x</script>'))
    assert "script" not in reader.tags
    assert ("data-row", '"><script>x</script>') in reader.attributes


def test_every_column_has_one_cell_a_row() -> None:
    assert Reader(drawn(*"abcdefghij", rows=5)).columns == [5] * 10


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens"):
        heatmap("abc", "abc", [0, 1, 2], [False] * 3, [MapRow("Teacher", ("#6f7785",), (0.1, 0.2))])


def test_the_map_reads_in_the_direction_of_its_sentence() -> None:
    assert drawn("[1]", "שלום", "good").startswith('<div class="dl-map" dir="rtl">')
    assert drawn("good", "שלום").startswith('<div class="dl-map" dir="ltr">')
    assert drawn("!", "1").startswith('<div class="dl-map" dir="ltr">')


def test_pieces_of_a_word_stand_together_without_their_marker() -> None:
    tokens, words, special = (
        ["[CLS]", "un", "##forced", "charm", "[SEP]"],
        [None, 0, 0, 1, None],
        [True, *[False] * 3, True],
    )
    row = MapRow("Teacher", ("#6f7785",), (0.0,) * 5, (0.0,) * 5)
    shown = ["[CLS]", "un", "forced", "charm", "[SEP]"]
    html = heatmap(tokens, shown, words, special, [row])
    assert Reader(html).tokens == ["[CLS]", "un", "forced", "charm", "[SEP]"]
    assert html.count("dl-pieces") == 1
    assert html.count("dl-special") == 2
    assert "##forced" in html  # in the hover


def test_no_band_begins_with_a_mark_that_closes() -> None:
    html = drawn("good", ",", "bad", "(", "ugly", ")", ".")
    assert [unit.count("dl-token") for unit in html.split("dl-unit")[1:]] == [2, 1, 1, 3]


def test_the_direction_is_that_of_the_text_not_of_its_bytes() -> None:
    row = MapRow("Teacher", ("#6f7785",), (0.0,), (0.0,))
    html = heatmap(["×©×ľ"], ["של"], [0], [False], [row])
    assert html.startswith('<div class="dl-map" dir="rtl">')
    assert '<div class="dl-word" dir="rtl">' in html
    assert "×©×ľ" in html  # in the hover


def test_a_map_is_divided_by_its_largest_score_outside_special_tokens() -> None:
    assert normalised([9.0, -4.0, 1.0, 0.0], [True, False, False, False]) == (1.0, -1.0, 0.25, 0.0)
    assert normalised([0.0, 0.0], [False, False]) == (0.0, 0.0)
    assert normalised([3.0], [True]) == (0.0,)


def test_difference_is_teacher_minus_student() -> None:
    teacher = MapRow("Teacher", ("#6f7785",), (1.0, -0.5), (4.0, -2.0))
    student = MapRow("KD student", ("#0f9488",), (0.25, 0.5), (1.0, 2.0))
    row = difference(teacher, student)
    assert row.values == (0.75, -1.0)
    assert row.raw is None
    assert row.colors == ("#6f7785", "#0f9488")


def test_numbers_are_readable_on_every_shade_of_both_papers() -> None:
    for step in range(-200, 201):
        colors = shade(step / 100)
        assert contrast(colors.light, colors.light_text) >= 4.5
        assert contrast(colors.dark, colors.dark_text) >= 4.5


def test_the_scale_is_centred_at_zero_and_grows_away_from_it() -> None:
    assert shade(0.0) == shade(-0.0)
    assert shade(5.0) == shade(1.0)
    for sign in (1, -1):
        strengths = [contrast("#fdfcfa", shade(sign * step / 20).light) for step in range(21)]
        assert strengths == sorted(strengths)
    assert shade(1.0).light != shade(-1.0).light


def test_the_legend_names_its_ends_and_escapes_the_class() -> None:
    signed = legend("<i>positive</i>", True, "Integrated gradients")
    assert "&lt;i&gt;positive&lt;/i&gt;" in signed
    assert "<i>" not in signed
    assert "against" in signed
    assert "against" not in legend("positive", False, "Gradient")


def test_the_style_sheet_fetches_nothing() -> None:
    from distill_core.paths import ASSETS

    for name in ("figure.css", "style.css"):
        assert not re.search(r"url\(|@import|https?:", (ASSETS / name).read_text(encoding="utf-8"))


def test_the_chosen_students_wear_their_colours_in_the_figure() -> None:
    from distill_core.paths import ASSETS
    from pages.components.palette import STUDENTS

    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    assert tuple(re.findall(r"--model: (#\w+)", style)) == STUDENTS
