"""What an explanation is: the maps of several models for one text, as pieces or words, and how far they agree."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from distill_core import consistency
from distill_core.attribution.reduce import sum_groups, word_groups
from distill_core.consistency import METRICS, Undefined, Value


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
    """

    id: str
    labels: tuple[str, ...]
    logits: tuple[float, ...]
    probabilities: tuple[float, ...]
    prediction: str
    attributions: tuple[TokenMap, ...]
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

    `tokens`, `words`, `special` and every map's scores have one entry a token. `words`: running number of
    the whole word a piece belongs to, `segments`: 0 in the first text and 1 in the second, both None at special
    tokens. `baseline`: the one used, None where the
    method has none. `left_out`: tokens cut off at the end because the models cannot take more.
    """

    task: str
    text: str
    text_pair: str | None
    method: str
    baseline: str | None
    output: str
    signed: bool
    include_special: bool
    tokens: tuple[str, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    special: tuple[bool, ...]
    left_out: int
    models: tuple[ModelExplanation, ...]
    consistency: tuple[Agreement, ...]

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values; the agreement's measures stand beside `student` and `target`."""
        content = asdict(self)
        content["consistency"] = [
            {"student": row.student, "target": row.target, **row.values, "undefined": dict(row.undefined)}
            for row in self.consistency
        ]
        return content


def by_word(explanation: Explanation) -> Explanation:
    """Return the same explanation over whole words: pieces joined, scores summed, agreement taken anew."""
    groups = word_groups(explanation.words)

    def joined(map_: TokenMap) -> TokenMap:
        return replace(map_, scores=sum_groups(map_.scores, groups))

    models = tuple(
        replace(model, attributions=tuple(joined(map_) for map_ in model.attributions)) for model in explanation.models
    )
    tokens = tuple("".join(_piece_text(explanation, at, group[0]) for at in group) for group in groups)
    whole = replace(
        explanation,
        tokens=tokens,
        words=tuple(explanation.words[group[0]] for group in groups),
        segments=tuple(explanation.segments[group[0]] for group in groups),
        special=tuple(explanation.special[group[0]] for group in groups),
        models=models,
    )
    return replace(whole, consistency=agreements(whole))


def agreements(explanation: Explanation) -> tuple[Agreement, ...]:
    """Compare every student with the teacher, class by class, over non-special tokens unless included."""
    keep = [
        position for position, special in enumerate(explanation.special) if explanation.include_special or not special
    ]
    teacher = explanation.models[0]
    rows = []
    for student in explanation.models[1:]:
        loyalty: dict[str, Value] = dict.fromkeys(
            ("label_loyalty", "probability_loyalty"), Undefined("the models give a score, not a class")
        )
        if teacher.probabilities:
            loyalty = {
                "label_loyalty": consistency.label_loyalty(teacher.logits, student.logits),
                "probability_loyalty": consistency.probability_loyalty(teacher.probabilities, student.probabilities),
            }
        for theirs, ours in zip(teacher.attributions, student.attributions, strict=True):
            pair = [[map_.scores[position] for position in keep] for map_ in (theirs, ours)]
            found = consistency.compare_maps(*pair, signed=explanation.signed) | loyalty
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
        for name in METRICS:
            found = [row.values[name] for row in own]
            known = [value for value in found if value is not None]
            values[name] = sum(known) / len(known) if len(known) == len(found) else None
            why = [f"{row.target}: {row.undefined[name]}" for row in own if name in row.undefined]
            reasons |= {name: why[0]} if why else {}
        rows.append(Agreement(model.id, "mean", values, reasons))
    return tuple(rows)


def _piece_text(explanation: Explanation, position: int, first: int) -> str:
    """Return a piece as part of its word: without the mark of a continued word ("##") or a word's start ("Ġ", "▁").

    A first piece that is the mark alone is nothing where the word goes on, and itself where it is the whole word.
    """
    token = explanation.tokens[position]
    if position != first:
        return token.removeprefix("##") or token
    goes_on = explanation.words[position] is not None and explanation.words[position] in explanation.words[first + 1 :]
    bare = token.lstrip("Ġ▁")
    return bare if bare or goes_on else token
