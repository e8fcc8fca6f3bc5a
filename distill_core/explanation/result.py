"""What an explanation is: the maps of several models for one text, as pieces or words, and how far they agree."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from distill_core.metrics import agreement
from distill_core.metrics.agreement import AGREEMENT_METRICS, Undefined, Value

UNITS = ("pieces", "words")  # what scores can be of


@dataclass(frozen=True)
class TokenMap:
    """One map: a score a token (or word) for class `target`; the rest as in `attribution.base.Attribution`."""

    target: str
    scores: tuple[float, ...]
    gap: float | None
    relative_gap: float | None
    converged: bool | None
    nodes: int | None


@dataclass(frozen=True)
class ModelExplanation:
    """What one model says of the text. `cached`: it was not called, all is from the cache.

    A regression has one label, one logit, which is the score, no probabilities, and its score as prediction.
    `unread`: the words, as written, that the model's vocabulary lacks something of: it sees its unknown token in
    place of a piece, or nothing of the word, which then scores 0.
    """

    id: str
    labels: tuple[str, ...]
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    prediction: str
    attributions: tuple[TokenMap, ...]
    unread: tuple[str, ...]
    cached: bool


@dataclass(frozen=True)
class Agreement:
    """A student's agreement with the teacher for one class: METRICS by name, None where `undefined` says why."""

    student: str
    target: str
    values: Mapping[str, float | None]
    undefined: Mapping[str, str]


@dataclass(frozen=True)
class Explanation:
    """One text through a teacher (the first of `models`) and its students.

    `units`: what a token is here. By `pieces`, the models' tokens, alike in all of them; by `words`, the words as
    written (see `encoding`), no special tokens, a word's score being the sum of its pieces'.
    `tokens`, `shown`, `words`, `segments`, `special` and every map's scores have one entry a token. `shown`: the
    token as people read it. `words`: place in the text of the word a piece belongs to, `segments`: 0 in the first
    text and 1 in the second, both None at special tokens. `baseline`: the one used, None where the method has none.
    `left_out`: tokens cut off because the models cannot take more; by words, those that not all models see entirely.
    """

    task: str
    text: str
    text_pair: str | None
    method: str
    baseline: str | None
    output: str
    signed: bool
    include_special: bool
    units: str
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    special: tuple[bool, ...]
    left_out: int
    models: tuple[ModelExplanation, ...]
    consistency: tuple[Agreement, ...]

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values; an agreement's measures stand beside `student` and `target`.

        `consistency` has it class by class, `mean_consistency` averaged over the classes explained.
        """
        content = asdict(self)
        for name, rows in (("consistency", self.consistency), ("mean_consistency", mean_agreements(self))):
            content[name] = [
                {"student": row.student, "target": row.target, **row.values, "undefined": dict(row.undefined)}
                for row in rows
            ]
        return content


def agreements(explanation: Explanation) -> tuple[Agreement, ...]:
    """Compare every student with the teacher, class by class, over non-special tokens unless included."""
    keep = [
        position for position, special in enumerate(explanation.special) if explanation.include_special or not special
    ]
    teacher = explanation.models[0]
    rows = []
    for student in explanation.models[1:]:
        loyalty: dict[str, Value] = dict.fromkeys(
            ("label_loyalty", "probability_loyalty"), Undefined("a score, no classes")
        )
        if teacher.probabilities:
            loyalty = {
                "label_loyalty": agreement.label_loyalty(teacher.logits, student.logits),
                "probability_loyalty": agreement.probability_loyalty(teacher.probabilities, student.probabilities),
            }
        for theirs, ours in zip(teacher.attributions, student.attributions, strict=True):
            pair = [[map_.scores[position] for position in keep] for map_ in (theirs, ours)]
            found = agreement.compare_maps(*pair, signed=explanation.signed) | loyalty
            values = {name: None if isinstance(value, Undefined) else value for name, value in found.items()}
            reasons = {name: value.reason for name, value in found.items() if isinstance(value, Undefined)}
            rows.append(Agreement(student.id, theirs.target, values, reasons))
    return tuple(rows)


def mean_agreements(explanation: Explanation) -> tuple[Agreement, ...]:
    """Return each student's agreement averaged over the explained classes, target `mean`; undefined where one is."""
    rows = []
    for model in explanation.models[1:]:
        own = [row for row in explanation.consistency if row.student == model.id]
        values: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        for name in AGREEMENT_METRICS:
            found = [row.values[name] for row in own]
            known = [value for value in found if value is not None]
            values[name] = sum(known) / len(known) if len(known) == len(found) else None
            why = {row.target: row.undefined[name] for row in own if name in row.undefined}
            if why:
                target, reason = next(iter(why.items()))
                alike = len(why) == len(own) and len(set(why.values())) == 1
                reasons[name] = reason if alike else f"{target}: {reason}"
        rows.append(Agreement(model.id, "mean", values, reasons))
    return tuple(rows)
