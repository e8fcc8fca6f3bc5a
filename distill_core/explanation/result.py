"""An explanation: the maps of several models for one text, by pieces or words, and how far they agree."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from distill_core.explanation.request import ExplanationRequest
from distill_core.metrics import agreement
from distill_core.metrics.agreement import AGREEMENT_METRICS, AgreementValue, Undefined


@dataclass(frozen=True)
class TokenMap:
    """One map: a score per token (or word) for class `target`; the other fields as in `attribution.base.Attribution`.

    `sampling_error` has a default because maps cached by version 0.1 lack it.
    """

    target: str
    scores: tuple[float, ...]
    gap: float | None
    relative_gap: float | None
    converged: bool | None
    nodes: int | None
    sampling_error: float | None = None


@dataclass(frozen=True)
class ModelExplanation:
    """One model's prediction and maps. `cached`: everything is from the cache, the model was not opened.

    A regression has one label, one logit, which is the score, no probabilities, and its score as prediction.
    `unread`: the words, as written, that the model's vocabulary lacks a part of: the model sees its unknown token in
    place of that part, or nothing of the word, which then scores 0.
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
    """A student's agreement with the teacher for one class, by metric; None where `undefined` says why."""

    student: str
    target: str
    values: Mapping[str, float | None]
    undefined: Mapping[str, str]


@dataclass(frozen=True)
class Explanation:
    """One text through a teacher (the first of `models`) and its students.

    `request`: the resolved request, see `ExplanationRequest.resolved`. `request.units` defines what a token is here:
    with `pieces`, the models' tokens, which are the same in all models; with `words`, the words as written (see
    `tokenization`), without special tokens, where a word's score is the sum of its pieces' scores.
    `tokens`, `shown`, `words`, `segments`, `special` and every map's scores have one entry per token. `shown`: the
    token as people read it. `words`: place in the text of the word a piece belongs to, `segments`: 0 in the first
    text and 1 in the second, both None at special tokens.
    `left_out`: number of tokens beyond the models' limit; with `words`, of words that some model does not read in full.
    """

    request: ExplanationRequest
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    special: tuple[bool, ...]
    left_out: int
    models: tuple[ModelExplanation, ...]
    consistency: tuple[Agreement, ...]

    @property
    def signed(self) -> bool:
        """Whether scores may be negative."""
        return self.request.method_spec.signed

    def to_json(self) -> dict[str, object]:
        """Return the explanation as JSON values; an agreement's measures are beside `student` and `target`.

        `consistency` holds the agreement per class, `mean_consistency` its mean over the explained classes.
        """
        request, content = asdict(self.request), asdict(self)
        document: dict[str, object] = {name: request[name] for name in ("task", "text", "text_pair", "method")}
        document |= {"baseline": request["baseline"], "output": request["output"], "signed": self.signed}
        document |= {name: request[name] for name in ("include_special", "units", "seed")}
        document |= {name: value for name, value in content.items() if name != "request"}
        for name, rows in (("consistency", self.consistency), ("mean_consistency", mean_agreements(self))):
            document[name] = [
                {"student": row.student, "target": row.target, **row.values, "undefined": dict(row.undefined)}
                for row in rows
            ]
        return document


def agreements(explanation: Explanation) -> tuple[Agreement, ...]:
    """Compare every student with the teacher, class by class, over non-special tokens unless included."""
    include_special = explanation.request.include_special
    keep = [position for position, special in enumerate(explanation.special) if include_special or not special]
    teacher = explanation.models[0]
    rows = []
    for student in explanation.models[1:]:
        loyalty: dict[str, AgreementValue] = dict.fromkeys(
            ("label_loyalty", "probability_loyalty"), Undefined("the model predicts a score, not a class")
        )
        if teacher.probabilities:
            loyalty = {
                "label_loyalty": agreement.label_loyalty(teacher.logits, student.logits),
                "probability_loyalty": agreement.probability_loyalty(teacher.probabilities, student.probabilities),
            }
        for teacher_map, student_map in zip(teacher.attributions, student.attributions, strict=True):
            pair = [[map_.scores[position] for position in keep] for map_ in (teacher_map, student_map)]
            measures = agreement.compare_maps(*pair, signed=explanation.signed) | loyalty
            values = {name: None if isinstance(value, Undefined) else value for name, value in measures.items()}
            reasons = {name: value.reason for name, value in measures.items() if isinstance(value, Undefined)}
            rows.append(Agreement(student.id, teacher_map.target, values, reasons))
    return tuple(rows)


def mean_agreements(explanation: Explanation) -> tuple[Agreement, ...]:
    """Return each student's agreement averaged over the explained classes, target `mean`; undefined where one is."""
    rows = []
    for model in explanation.models[1:]:
        own = [row for row in explanation.consistency if row.student == model.id]
        values: dict[str, float | None] = {}
        reasons: dict[str, str] = {}
        for name in AGREEMENT_METRICS:
            defined = [value for row in own if (value := row.values[name]) is not None]
            values[name] = sum(defined) / len(defined) if len(defined) == len(own) else None
            undefined = {row.target: row.undefined[name] for row in own if name in row.undefined}
            if undefined:
                target, reason = next(iter(undefined.items()))
                same_for_all = len(undefined) == len(own) and len(set(undefined.values())) == 1
                reasons[name] = reason if same_for_all else f"{target}: {reason}"
        rows.append(Agreement(model.id, "mean", values, reasons))
    return tuple(rows)
