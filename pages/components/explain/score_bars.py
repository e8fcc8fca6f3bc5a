"""Token scores as a Plotly figure of grouped bars. Background and text follow Streamlit's theme.

Plotly reads labels as HTML, so every text from outside is escaped, and none is put into a
template, where "%{...}" would be replaced.
"""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from distill_core.attribution.reduce import word_groups
from pages.components.explain.heatmap import MapRow
from pages.components.formatting import with_true_minus

CONFIG = {
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
    "toImageButtonOptions": {"format": "png", "scale": 3, "filename": "distillation-lens"},
}
"""For `st.plotly_chart(config=...)`: one button, which saves the chart as PNG in the browser."""

TOKENS_AT_ONCE = 60
_FAINT = "rgba(128, 128, 128, 0.22)"


def score_bars(
    tokens: Sequence[str], shown: Sequence[str], words: Sequence[int | None], rows: Sequence[MapRow]
) -> go.Figure:
    """Return grouped bars of the values that the map colours: one group per token, one bar per model.

    `tokens`, `shown` and `words` as in `Explanation`; the hover names the token itself.
    """
    figure = _figure(300)
    for row in rows:
        raw = row.raw if row.raw is not None else row.values
        hover = [
            f"{_escaped(token)} · {_escaped(row.label)}: {with_true_minus(f'{value:+.3f}')} "
            f"(raw {with_true_minus(f'{score:.4g}')})"
            for token, value, score in zip(tokens, row.values, raw, strict=True)
        ]
        figure.add_bar(
            x=list(range(len(tokens))),
            y=list(row.values),
            name=_escaped(row.label),
            marker={"color": row.colors[0], "line": {"width": 0}},
            hovertext=hover,
            hoverinfo="text",
        )
    joined = [at > group[0] for group in word_groups(words) for at in group]
    continued = (inside and text[:1].isalnum() for text, inside in zip(shown, joined, strict=True))  # no comma
    names = [("·" if inside else "") + _escaped(text) for text, inside in zip(shown, continued, strict=True)]
    figure.update_xaxes(tickmode="array", tickvals=list(range(len(tokens))), ticktext=names, tickfont={"size": 14})
    if len(tokens) > TOKENS_AT_ONCE:  # more bars would be too narrow: show a part of them, with a slider
        figure.update_xaxes(range=[-0.5, TOKENS_AT_ONCE - 0.5], rangeslider={"visible": True, "thickness": 0.12})
        figure.update_layout(height=380)
    figure.update_yaxes(zeroline=True, zerolinecolor="rgba(128, 128, 128, 0.7)", zerolinewidth=1)
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.08, hovermode="closest")
    return figure


def _escaped(text: str) -> str:
    return escape(text, quote=False)  # Plotly knows no entity for quotation marks


def _figure(height: int) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 44, "r": 8, "t": 30, "b": 40},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "title": {"text": ""}},
        font={"family": '"Source Sans", sans-serif', "size": 13},
        modebar={"bgcolor": "rgba(0, 0, 0, 0)"},
    )
    figure.update_xaxes(showgrid=False, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=_FAINT, zeroline=False, automargin=True)
    return figure
