"""The request for an explanation: one text, the models, and how their maps are computed. Needs no torch."""

from dataclasses import dataclass, replace

from distill_core.config.attribution_methods import AttributionMethodSpec, check_output, find_attribution_method
from distill_core.data.tasks import get_task
from distill_core.errors import ConfigError, DataError

UNITS = ("pieces", "words")  # what one score belongs to
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class ExplanationRequest:
    """One text (or pair) of a task to explain through a teacher and its students, named by id or folder.

    `target`: `pred` (the teacher's predicted class, for every model, so that maps are comparable), `all`, or a class
    name. `baseline`: None for the method's own. `units`: one of UNITS; with `words`, models that split the text into
    different tokens can be compared too; a method that scores whole words always uses `words`.
    `include_special`: compare special tokens too, by pieces. `seed`: for methods that sample.
    `max_length`: largest number of tokens; None for the smallest of the models' limits, or each model's own limit where
    their tokens differ.
    """

    task: str
    text: str
    text_pair: str | None = None
    teacher: str
    students: tuple[str, ...] = ()
    method: str = "integrated_gradients"
    target: str = "pred"
    baseline: str | None = None
    output: str = "logit"
    units: str = UNITS[0]
    include_special: bool = False
    seed: int = 0
    max_length: int | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """The teacher, then the students."""
        return (self.teacher, *self.students)

    @property
    def method_spec(self) -> AttributionMethodSpec:
        """The method's entry; ConfigError naming the valid keys."""
        return find_attribution_method(self.method)

    def resolved(self) -> "ExplanationRequest":
        """Return the request with the baseline and the units that its method uses.

        Raises ConfigError for unknown names or a seed out of range, DataError for the wrong number of texts.
        """
        task = get_task(self.task)
        if task.pair and self.text_pair is None:
            raise DataError(
                f"Task {self.task} needs two texts ({' and '.join(task.columns)}); only one was given: add the second."
            )
        if not task.pair and self.text_pair is not None:
            raise DataError(f"Task {self.task} takes one text ({task.columns[0]}); a second was given: leave it out.")
        spec = self.method_spec
        baseline = spec.baseline(self.baseline)
        check_output(self.output, task.classes)
        units = UNITS[-1] if spec.by_word else self.units
        if units not in UNITS:
            raise ConfigError(f"Unknown units {units!r}; choose one of: {', '.join(UNITS)}.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ConfigError(f"The seed is {self.seed}; use a whole number from 0 to {LARGEST_SEED}.")
        if units == "words" and self.include_special:
            raise ConfigError("Special tokens are not words: explain by pieces, or leave include_special out.")
        return replace(self, baseline=baseline, units=units)

    def map_settings(self) -> tuple[object, ...]:
        """Return everything but text, model and class that a map depends on, for cache keys."""
        spec = self.method_spec
        seed = (self.seed,) if spec.seeded else ()  # other methods' keys stay those of version 0.1
        return (self.method, spec.cache_key, self.baseline, self.output, *seed)
