"""Bars show the values they are given, in the colours of the map's models, and any text as text."""

from pages.components.explain.heatmap import MapRow
from pages.components.explain.score_bars import CONFIG, TOKENS_AT_ONCE, score_bars
from pages.components.palette import STUDENTS, TEACHER, model_color

ROWS = [
    MapRow("Teacher", (model_color(0),), (0.5, -1.0, 0.1), (1.0, -2.0, 0.2)),
    MapRow("KD student", (model_color(1),), (1.0, 0.0, 0.2), (3.0, 0.0, 0.6)),
]


def test_bars_are_the_map_s_values_one_group_a_token() -> None:
    figure = score_bars(["Ġnot", "Ġbad", "bad"], ["not", "bad", "bad"], [0, 1, 2], ROWS)
    assert [tuple(bar.y) for bar in figure.data] == [row.values for row in ROWS]
    assert [bar.marker.color for bar in figure.data] == [TEACHER, STUDENTS[0]]
    assert list(figure.data[0].x) == [0, 1, 2]  # positions: a word that comes twice has two groups
    assert list(figure.layout.xaxis.ticktext) == ["not", "bad", "bad"]
    assert figure.data[0].hovertext[1] == "Ġbad · Teacher: −1.000 (raw −2)"


def test_a_piece_that_continues_a_word_is_marked_and_a_comma_is_not() -> None:
    row = MapRow("Teacher", (TEACHER,), (0.5,) * 4, (1e-5,) * 4)
    figure = score_bars(["slow", "##ly", ",", "bad"], ["slow", "ly", ",", "bad"], [0, 0, 0, 1], [row])
    assert list(figure.layout.xaxis.ticktext) == ["slow", "·ly", ",", "bad"]
    assert figure.data[0].hovertext[0] == "slow · Teacher: +0.500 (raw 1e−5)"


def test_bars_of_a_long_text_show_a_window_of_it() -> None:
    count = TOKENS_AT_ONCE + 40
    row = MapRow("Teacher", (TEACHER,), (0.5,) * count, (1.0,) * count)
    figure = score_bars(["film"] * count, ["film"] * count, list(range(count)), [row])
    assert len(figure.data[0].x) == count
    assert list(figure.layout.xaxis.range) == [-0.5, TOKENS_AT_ONCE - 0.5]
    assert figure.layout.xaxis.rangeslider.visible


def test_bars_escape_tokens_and_labels() -> None:
    row = MapRow("<b>x</b>", (TEACHER,), (0.5, 0.1, 0.0), (0.5, 0.1, 0.0))
    figure = score_bars(["<a href='x'>", "%{y}", "##ing"], ["<a href='x'>", "%{y}", "ing"], [0, 1, 1], [row])
    assert list(figure.layout.xaxis.ticktext) == ["&lt;a href='x'&gt;", "%{y}", "·ing"]
    assert figure.data[0].name == "&lt;b&gt;x&lt;/b&gt;"
    assert "<" not in "".join(figure.data[0].hovertext)
    assert figure.data[0].hovertemplate is None


def test_charts_are_transparent_and_save_without_a_server() -> None:
    assert score_bars([], [], [], []).layout.paper_bgcolor == "rgba(0, 0, 0, 0)"
    assert CONFIG["modeBarButtons"] == [["toImage"]]
