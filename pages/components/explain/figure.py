"""One explanation as a figure of predictions, maps and agreement, for the page or as an HTML document."""

from collections.abc import Mapping, Sequence
from html import escape

from distill_core.config.attribution_methods import AttributionMethodSpec
from distill_core.data.tasks import get_task
from distill_core.explanation.result import Agreement, Explanation, ModelExplanation, TokenMap, mean_agreements
from distill_core.metrics.agreement import AGREEMENT_METRICS
from distill_core.paths import ASSETS
from pages.components.explain import scorecards
from pages.components.explain.heatmap import MapRow, difference, heatmap, legend, normalised
from pages.components.formatting import with_true_minus
from pages.components.palette import model_color

NOTE = (
    "Each map is divided by its largest |score| outside the special tokens. "
    "Δ is teacher minus student: blue where the teacher’s value is higher, orange where the student’s is; "
    "values beyond ±1 have the end colour of the scale. Values within ±0.05 are shown without a number."
)


def targets(explanation: Explanation) -> tuple[str, ...]:
    """Return the classes that were explained, in order."""
    return tuple(token_map.target for token_map in explanation.models[0].attributions)


def model_rows(explanation: Explanation, labels: Sequence[str], at: int) -> list[MapRow]:
    """Return one row per model, teacher first, for the `at`-th explained class."""
    rows = []
    for position, (model, label) in enumerate(zip(explanation.models, labels, strict=True)):
        scores = model.attributions[at].scores
        rows.append(MapRow(label, (model_color(position),), normalised(scores, explanation.special), tuple(scores)))
    return rows


def predictions_html(explanation: Explanation, labels: Sequence[str], gold: str | None) -> str:
    """Return the models' predictions, each with how exact its map is."""
    cards = []
    for position, (model, label) in enumerate(zip(explanation.models, labels, strict=True)):
        remark, warning = _quality(model, explanation.request.method_spec)
        shares = dict(zip(model.labels, model.probabilities, strict=False))  # a regression has none
        color = model_color(position)
        span = get_task(explanation.request.task).span
        about = (label, color, model.id, model.prediction, shares, gold, remark, warning, span)
        cards.append(scorecards.PredictionCard(*about))
    return scorecards.predictions(cards)


def maps_html(explanation: Explanation, labels: Sequence[str], gold: str | None, at: int) -> str:
    """Return the `at`-th class's legend and aligned maps, differences last; one block per text of a pair."""
    rows = model_rows(explanation, labels, at)
    rows += [difference(rows[0], row) for row in rows[1:]]
    target = targets(explanation)[at]
    title = method_words(explanation)
    if len(targets(explanation)) > 1:
        title += " · the teacher’s prediction" if target == explanation.models[0].prediction else ""
        title += " · the label" if target == gold else ""
    drawn = "".join(
        (_segment_sums(explanation, segment, at) if explanation.request.text_pair is not None else "")
        + heatmap(
            explanation.tokens[part],
            explanation.shown[part],
            explanation.words[part],
            explanation.special[part],
            [row.part(part) for row in rows],
        )
        for segment, part in enumerate(_parts(explanation))
    )
    return f'{legend(target, explanation.signed, title)}{drawn}<p class="dl-note">{NOTE}</p>'


def _parts(explanation: Explanation) -> list[slice]:
    """Return where each text's tokens are, special tokens with the text before them."""
    length = len(explanation.tokens)
    second = explanation.segments.index(1) if 1 in explanation.segments else length
    return [slice(0, second), slice(second, length)][: 1 if second == length else 2]


def _segment_sums(explanation: Explanation, segment: int, at: int) -> str:
    """Return the name of one text of a pair and the sum of its scores for each model."""
    name = get_task(explanation.request.task).text_titles[segment]
    sums = ""
    for position, model in enumerate(explanation.models):
        scores = model.attributions[at].scores
        total = sum(score for score, part in zip(scores, explanation.segments, strict=True) if part == segment)
        shown = with_true_minus(f"{total:{'+' if explanation.signed else ''}.2f}")
        sums += f'<span style="--dot:{model_color(position)}" title="{escape(model.id)}">{shown}</span>'
    what = "The sum of this text’s scores before they are scaled for the colours"
    return f'<div class="dl-segment"><b>{escape(name)}</b><span title="{what}">sum of raw scores</span>{sums}</div>'


def agreement_html(explanation: Explanation, labels: Sequence[str], at: int) -> str:
    """Return each student's agreement with the teacher on the `at`-th class; of several, only the mean is explained."""
    target = targets(explanation)[at]
    rows = [row for row in explanation.consistency if row.target == target]
    return _agreement(explanation, labels, rows, explained=len(targets(explanation)) == 1)


def mean_agreement_html(explanation: Explanation, labels: Sequence[str]) -> str:
    """Return each student's agreement with the teacher averaged over the classes."""
    return _agreement(explanation, labels, mean_agreements(explanation))


def _agreement(
    explanation: Explanation, labels: Sequence[str], rows: Sequence[Agreement], explained: bool = True
) -> str:
    named = dict(zip((model.id for model in explanation.models[1:]), labels[1:], strict=True))
    colors = {model.id: model_color(position) for position, model in enumerate(explanation.models) if position}
    students = [
        scorecards.AgreementCard(named[row.student], colors[row.student], row.values, row.undefined) for row in rows
    ]
    sentences = {name: _of_units(text, explanation) if explained else "" for name, text in AGREEMENT_METRICS.items()}
    return scorecards.agreement(students, sentences)


def _of_units(sentence: str, explanation: Explanation) -> str:
    """Return a sentence about tokens, about words where words are compared."""
    if explanation.request.units != "words":
        return sentence
    return sentence.replace("token", "word").replace("Token", "Word")


def method_words(explanation: Explanation) -> str:
    """Return the method, its baseline, its seed and the explained output in words."""
    request = explanation.request
    words = request.method_spec.title
    if request.baseline is not None:
        words += f", {request.baseline} baseline"
    if request.method_spec.seeded:
        words += f", seed {request.seed}"
    output = "score" if not explanation.models[0].probabilities else request.output.replace("_", " ")
    return f"{words}, on the {output}"


def document(explanation: Explanation, labels: Sequence[str], gold: str | None, address: Mapping[str, object]) -> str:
    """Return the figure as a self-contained HTML document that follows the reader's light or dark scheme."""
    style = (ASSETS / "figure.css").read_text(encoding="utf-8")
    parts = [predictions_html(explanation, labels, gold)]
    several = len(targets(explanation)) > 1
    for at, target in enumerate(targets(explanation)):
        parts += [f"<h2>For {escape(target)}</h2>"] if several else []
        parts += [maps_html(explanation, labels, gold, at), agreement_html(explanation, labels, at)]
    parts += ["<h2>Mean over the classes</h2>", mean_agreement_html(explanation, labels)] if several else []
    models = "; ".join(f"{label}: {model.id}" for label, model in zip(labels, explanation.models, strict=True))
    shown = {name: value for name, value in address.items() if name not in ("text", "text_pair", "teacher", "student")}
    settings = ", ".join(f"{name} {value}" for name, value in shown.items())
    text = escape(" / ".join(filter(None, (explanation.request.text, explanation.request.text_pair))))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text} · Distillation Lens</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_PAGE_STYLE}{style}</style></head>"
        f'<body><main><h1 dir="auto">{text}</h1>{"".join(parts)}'
        f"<footer>{escape(models)}. {escape(settings)}. Made with Distillation Lens.</footer></main></body></html>"
    )


def _quality(model: ModelExplanation, spec: AttributionMethodSpec) -> tuple[str, str]:
    """Return a remark on how exact the model's maps are; where one has not converged, a warning instead."""
    maps = [token_map for token_map in model.attributions if _inexactness(token_map) is not None]
    if not maps:
        return "", ""
    worst = max(maps, key=lambda token_map: (token_map.converged is False, _inexactness(token_map) or 0.0))
    measure = "completeness gap" if worst.sampling_error is None else "sampling error"
    words = f"{measure} {100 * (_inexactness(worst) or 0.0):.2g} %"
    words += f", {worst.nodes} {spec.evaluations}" if worst.nodes is not None else ""
    return ("", f"Not converged: {words}") if worst.converged is False else (words[0].upper() + words[1:], "")


def _inexactness(token_map: TokenMap) -> float | None:
    """Return the map's sampling error, else its relative completeness gap, else None."""
    return token_map.relative_gap if token_map.sampling_error is None else token_map.sampling_error


_PAGE_STYLE = (
    ":root{color-scheme:light dark}body{margin:0;background:light-dark(#fdfcfa,#16171a);"
    'color:light-dark(#23211e,#e9e6e0);font-family:"Source Sans 3",system-ui,sans-serif}'
    "main{max-width:72rem;margin:3rem auto;padding:0 1.5rem;display:grid;gap:1.6rem}"
    'h1{margin:0;font:400 1.6rem/1.3 "Source Serif 4",Georgia,serif;unicode-bidi:isolate}'
    'h2{margin:0;font:600 1.2rem/1.3 "Source Serif 4",Georgia,serif}'
    "footer{font-size:.8rem;opacity:.7}"
)
