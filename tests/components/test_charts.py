"""Charts show the values they are given, in the colours the map's models have, and any text as text."""

import math

from pages.components.charts import (
    CONFIG,
    TOKENS_AT_ONCE,
    loss_curves,
    metric_color,
    metric_curve,
    metric_curves,
    metric_title,
    score_bars,
)
from pages.components.heatmap import MapRow
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
    assert figure.data[0].hovertext[1] == "Ġbad · Teacher: -1.000 (raw -2)"


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


def test_curves_keep_their_colours_whatever_is_beside_them() -> None:
    alone = loss_curves({"kd": [(1, 2.0)]})
    together = loss_curves({"loss": [(1, 3.0), (2, 2.0)], "ce": [(1, 1.0)], "kd": [(1, 2.0)]})
    assert alone.data[0].line.color == together.data[2].line.color == metric_color("weighted/kd")
    assert together.data[0].line.width > together.data[1].line.width
    assert tuple(together.data[0].x) == (1, 2)
    assert tuple(together.data[0].y) == (3.0, 2.0)
    assert metric_title("weighted/kd") == "Teacher’s answers (KD), weighted"
    assert metric_title("new/metric") == "new/metric"


def test_an_undefined_point_is_a_gap() -> None:
    figure = metric_curves({"agreement/cosine": [(0, 0.5), (20, math.nan), (40, 0.7)]}, 0.0, 1.0)
    assert tuple(figure.data[0].y) == (0.5, None, 0.7)
    assert figure.data[0].connectgaps is False
    assert tuple(figure.layout.yaxis.range) == (0.0, 1.0)


def test_no_points_yet_is_an_empty_chart() -> None:
    assert len(loss_curves({}).data) == 0
    assert metric_curve("learning_rate", []).data[0].y == ()


def test_charts_are_transparent_and_save_without_a_server() -> None:
    assert loss_curves({}).layout.paper_bgcolor == "rgba(0, 0, 0, 0)"
    assert CONFIG["modeBarButtons"] == [["toImage"]]
