"""The spec of a distillation method, which form, command line, charts, model card and docs read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

WARM_UP = ("method_delay", "method_ramp", "method_every")  # read by every method that adds a term to plain KD

DescribeSettings = Callable[[Mapping[str, Any], int], list[str]]


def _describe_nothing(_: Mapping[str, Any], __: int) -> list[str]:
    return []


@dataclass(frozen=True)
class Paper:
    """A publication as the model card cites it. `identifier`: "arXiv 2305.10010" or "doi 10.1145/3639364".

    `note`: a limit of the citation, for example that only the idea is from the paper.
    """

    authors: str
    title: str
    venue: str
    identifier: str
    note: str = ""

    @property
    def url(self) -> str:
        """The address of the publication."""
        kind, _, number = self.identifier.partition(" ")
        return {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}[kind] + number

    @property
    def citation(self) -> str:
        """The citation in Markdown."""
        return f"{self.note}{self.authors}, *{self.title}*, {self.venue}, {self.identifier}"


@dataclass(frozen=True)
class Term:
    """One term of the loss: its metric name, the title and colour (hex) of its curve, its formula and its meaning.

    `symbol` and `formula`: LaTeX; the formula is the inside of an aligned block, its lines separated by `\\\\ &`.
    `words`: Markdown. `weight`: the setting with the term's weight; empty for the two terms of every method, whose
    weights follow from α. `score_…`: for a regression, if it differs.
    """

    name: str
    title: str
    color: str
    symbol: str
    formula: str
    words: str
    weight: str = ""
    score_symbol: str = ""
    score_formula: str = ""
    score_words: str = ""

    def for_scores(self) -> "Term":
        """Return the term for a regression."""
        return replace(
            self,
            symbol=self.score_symbol or self.symbol,
            formula=self.score_formula or self.formula,
            words=self.score_words or self.words,
        )


@dataclass(frozen=True)
class DistillationMethod:
    """One distillation method.

    `words`, `score_words`: what the student learns, in one or two sentences, for classes and for scores.
    `compares`: what is compared, in a few words, for the table of the documentation. `terms`: added to plain KD.
    `objective`: "module:Class" of the objective, imported only when a run is built; empty for plain KD.
    `arguments`: of the class, as (argument, setting); a method that reads `matching` also gets the matched layers as
    `pairs`. `own_settings`: settings of this method besides weights and warm-up, in the order of the form; `describe`:
    puts their values into words, from all settings and the number of classes (1 for a regression).
    `cost`: seconds of a step relative to plain KD, on a CPU (benchmarks/method_steps.py); `cost_settings`: the
    method's part of it is multiplied by the smallest value of these settings.
    `compared_weight`: the method weight used in docs/comparison.md, at which the terms have about a tenth to a half of
    the gradient on SST-2; None if not measured.
    `dropout`: whether the authors train the student with dropout. `second_derivative`: whether a gradient is matched.
    `same_width`: whether the student must be as wide as the teacher; `same_embedding_width`: whether its embeddings
    must be. `erases`: whether the tokenizer must have a [MASK] token.
    """

    key: str
    title: str
    words: str
    score_words: str
    compares: str
    papers: tuple[Paper, ...]
    terms: tuple[Term, ...] = ()
    objective: str = ""
    arguments: tuple[tuple[str, str], ...] = ()
    own_settings: tuple[str, ...] = ()
    describe: DescribeSettings = _describe_nothing
    cost: float = 1.0
    cost_settings: tuple[str, ...] = ()
    compared_weight: float | None = None
    dropout: bool = True
    second_derivative: bool = False
    same_width: bool = False
    same_embedding_width: bool = False
    erases: bool = False

    @property
    def weights(self) -> tuple[str, ...]:
        """The settings with the weights of its terms, each once, in the order of the terms."""
        return tuple(dict.fromkeys(term.weight for term in self.terms))

    @property
    def settings(self) -> tuple[str, ...]:
        """Every setting that this method reads and some other method does not."""
        return (*self.weights, *self.own_settings, *WARM_UP) if self.terms else self.own_settings
