"""Plain data to Plotly figures; nothing here draws. Paper and ink follow Streamlit's theme, meaning is ours.

Plotly reads its labels as a small HTML, so every text from outside is escaped before it goes in, and
never put into a template, where "%{...}" would be replaced.
"""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go

from distill_core.attribution.reduce import word_groups
from distill_core.config.methods import METHODS, terms_of
from pages.components.explain.heatmap import MapRow
from pages.components.palette import STUDENTS, TEACHER, TERMS

CONFIG = {
    "displaylogo": False,
    "modeBarButtons": [["toImage"]],
    "toImageButtonOptions": {"format": "png", "scale": 3, "filename": "distillation-lens"},
}
"""What to hand to `st.plotly_chart(config=...)`: one button, which saves the chart as PNG without any server."""

TOKENS_AT_ONCE = 60
VALIDATION = "validation/"
_FAINT = "rgba(128, 128, 128, 0.22)"
_TITLES = {
    "loss": "Total loss",
    **{term.name: term.title for method in METHODS for term in terms_of(method)},
    "agreement/cosine": "Cosine of unsigned maps",
    "agreement/spearman": "Spearman of unsigned maps",
    "agreement/signed_cosine": "Cosine of signed maps",
    "agreement/label_loyalty": "Same prediction as the teacher",
    "learning_rate": "Learning rate",
    "examples_per_second": "Examples a second",
    "memory_mb": "Memory (MB)",
}
_METRICS = {
    "accuracy": "accuracy",
    "f1": "F1",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearmanr": "Spearman correlation",
}
_COLORS = {
    **TERMS,
    "agreement/cosine": STUDENTS[0],
    "agreement/spearman": STUDENTS[1],
    "agreement/signed_cosine": STUDENTS[2],
    "agreement/label_loyalty": "#5b8f3a",
}


def metric_title(name: str) -> str:
    """Return the words for a metric's name; a weighted term is named as such, an unknown name stays as it is."""
    term = name.removeprefix("weighted/")
    if term.startswith(VALIDATION):
        return f"Validation {metric_words(term.removeprefix(VALIDATION))}"
    title = _TITLES.get(term, name)
    return f"{title}, weighted" if term != name else title


def metric_words(metric: str) -> str:
    """Return the words for a task's metric; an unknown one stays as it is."""
    return _METRICS.get(metric, metric)


def metric_color(name: str) -> str:
    """Return the colour of a metric, the same for a term raw and weighted; neutral for an unknown one."""
    return _COLORS.get(name.removeprefix("weighted/"), TEACHER)


def score_bars(
    tokens: Sequence[str], shown: Sequence[str], words: Sequence[int | None], rows: Sequence[MapRow]
) -> go.Figure:
    """Return grouped bars, one group a token and one bar a model, of the values the map colours.

    `tokens`, `shown` and `words` as in `Explanation`; the hover names the token itself.
    """
    figure = _figure(300)
    for row in rows:
        raw = row.raw if row.raw is not None else row.values
        hover = [
            f"{_escaped(token)} · {_escaped(row.label)}: {value:+.3f} (raw {score:.4g})"
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
    names = [("·" if inside else "") + _escaped(text) for text, inside in zip(shown, joined, strict=True)]
    figure.update_xaxes(tickmode="array", tickvals=list(range(len(tokens))), ticktext=names)
    if len(tokens) > TOKENS_AT_ONCE:  # more would smear: a window to move and widen
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
