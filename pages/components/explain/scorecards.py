"""Escaped HTML around the map: each model's prediction, and the agreement numbers with their explanations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pages.components.formatting import format_number, format_percent

_QUALITY = (
    "Completeness gap: the scores of a complete map add up to the change of the output from the baseline to the text; "
    "the gap is the missing part. Sampling error: the sum of the scores’ standard errors; 0 where nothing was sampled. "
    "Both are shares of Σ|scores|. Path points: where between baseline and text the gradient was computed. "
    "Masked texts: how many versions of the text with erased words were run."
)
SPANS = {"cosine": -1.0, "spearman": -1.0, "kendall": -1.0}  # lowest value a number can take; 0 for the others


@dataclass(frozen=True)
class PredictionCard:
    """One model's prediction: its class names with their probabilities, and a remark or warning about its map.

    `span`: lowest and highest score of a regression, whose `prediction` is the score and which has no classes.
    """

    label: str
    color: str
    model_id: str
    prediction: str
    probabilities: Mapping[str, float]
    gold: str | None
    remark: str = ""
    warning: str = ""
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class AgreementCard:
    """One student's agreement numbers with the teacher, None where `undefined` gives the reason."""

    label: str
    color: str
    values: Mapping[str, float | None]
    undefined: Mapping[str, str]


def predictions(cards: Sequence[PredictionCard]) -> str:
    """Return the models' predictions side by side."""
    return f'<div class="dl-models">{"".join(_prediction(card) for card in cards)}</div>'


def agreement(students: Sequence[AgreementCard], explained: Mapping[str, str]) -> str:
    """Return one block per number: its name, a mark on its span for each student, and its explanation.

    `explained`: one sentence per number, in the order to show; an empty one is left out.
    """
    blocks = (_number(name, sentence, students) for name, sentence in explained.items())
    return f'<div class="dl-agreement">{"".join(blocks)}</div>'


def _prediction(card: PredictionCard) -> str:
    bar, verdict = _score(card) if card.span else _classes(card)
    notes = f'<span class="dl-remark" title="{_QUALITY}">{escape(card.remark)}</span>' if card.remark else ""
    notes += f'<span class="dl-warning" title="{_QUALITY}">{escape(card.warning)}</span>' if card.warning else ""
    return (
        f'<div class="dl-model" style="--dot:{card.color}" title="{escape(card.model_id, quote=True)}">'
        f'<div class="dl-answer"><b class="dl-name"><bdi>{escape(card.label)}</bdi></b>'
        f"<span><bdi>{escape(card.prediction)}</bdi> {verdict}</span></div>{bar}{notes}</div>"
    )


def _score(card: PredictionCard) -> tuple[str, str]:
    """Return a score's bar on its span, and the gold score beside it."""
    low, high = card.span or (0.0, 1.0)
    share = min(1.0, max(0.0, (float(card.prediction) - low) / (high - low)))
    parts = f'<i class="dl-chosen" style="flex-grow:{share:.4f}"></i><i style="flex-grow:{1 - share:.4f}"></i>'
    ends = f"<span>{low:g}</span><span>{high:g}</span>"
    verdict = "" if card.gold is None else f"<em>label {escape(card.gold)}</em>"
    return f'<div class="dl-bar">{parts}</div><div class="dl-shares">{ends}</div>', verdict


def _classes(card: PredictionCard) -> tuple[str, str]:
    """Return the classes' probabilities as a bar, and whether the prediction is right."""
    parts = "".join(
        f'<i class="{"dl-chosen" if name == card.prediction else ""}" style="flex-grow:{max(share, 0.004):.4f}"'
        f' title="{escape(name)} {format_percent(share)}"></i>'
        for name, share in card.probabilities.items()
    )
    shares = "".join(
        f"<span><bdi>{escape(name)}</bdi> {format_percent(share)}{' · label' if name == card.gold else ''}</span>"
        for name, share in card.probabilities.items()
    )
    verdict = ""
    if card.gold is not None:
        verdict = "<em>✓ right</em>" if card.prediction == card.gold else '<em class="dl-wrong">✗ wrong</em>'
    return f'<div class="dl-bar">{parts}</div><div class="dl-shares">{shares}</div>', verdict


def _number(name: str, sentence: str, students: Sequence[AgreementCard]) -> str:
    low = SPANS.get(name, 0.0)
    marks = values = ""
    reasons = {None if student.values.get(name) is not None else _reason(student, name) for student in students}
    shared = reasons.pop() if len(reasons) == 1 else None  # said once where it holds for every student
    if shared is not None:
        values = f'<div class="dl-undefined">{escape(shared)}</div>'
    for student in students if shared is None else ():
        value = student.values.get(name)
        if value is None:
            values += _value(student, student.label, f"<span>{escape(_reason(student, name))}</span>")
            continue
        place = 100 * (max(low, min(1.0, value)) - low) / (1.0 - low)
        marks += f'<i style="left:{place:.1f}%;--dot:{student.color}"></i>'
        values += _value(student, f"{student.label}: {value:.6g}", f"<b>{format_number(value)}</b>")
    zero = '<u style="left:50%"></u>' if low < 0 else ""
    words = f"<p>{escape(sentence)}</p>" if sentence else ""
    return (
        f'<div class="dl-number"><h4>{escape(_title(name))}</h4><div class="dl-values">{values}</div>'
        f'<div class="dl-track">{zero}{marks}</div>{words}</div>'
    )


def _reason(student: AgreementCard, name: str) -> str:
    """Return why a student has no value."""
    return f"undefined: {student.undefined.get(name, 'no value')}"


def _value(student: AgreementCard, hover: str, shown: str) -> str:
    return f'<div class="dl-value" style="--dot:{student.color}" title="{escape(hover, quote=True)}">{shown}</div>'


def _title(name: str) -> str:
    return name.replace("top_k", "top-k").replace("_", " ").capitalize()
