"""The settings of one distillation run: a frozen record, checked once, to and from JSON.

`FIELDS` describes every field (label, one-sentence help, range); the check, the form and the command line all read it,
so they cannot disagree. Unknown keys are refused and missing keys get their default, so a record written before a field
existed stays readable. Old names of settings are in `RENAMED`.
"""

import json
import shlex
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, cast

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.data.tasks import TASKS
from distill_core.devices import DEVICES
from distill_core.errors import ConfigError
from distill_core.storage.checkpoints import KEEP_CHOICES

FROM_TEACHER = ("first", "even", "last", "random")  # what a student may begin as, if it is no model
MATCHING = ("skip", "last")
KD_FORMS = ("cross_entropy", "kl")
SCHEDULES = ("fixed", "annealed")
NORMS = ("l2", "l1")
DISTANCES = ("l2", "l1", "smooth_l1")
WEAK = ("stop", "go_on")
DROPOUT = ("published", "on", "off")
PRECISIONS = ("auto", "float32", "bfloat16")
MONITORS = ("metric", "agreement/signed_cosine", "agreement/cosine", "agreement/spearman")

PROBE_EXAMPLES = 64  # validation examples on which every run measures the agreement with its teacher, at most
VALIDATION_LIMIT = 1000  # examples; larger validation sets are sampled, the same examples for every run

RENAMED = {  # names of settings in earlier versions: stored runs and command lines may still use them
    "attribution_weight": "method_weight",
    "patience_weight": "pkd_weight",
    "student": "student_init",
    "watched": "monitor",
    "patience": "early_stopping_patience",
}
Kind = Literal["int", "float", "text", "choice"]
SettingValue = int | float | str | None


@dataclass(frozen=True)
class FieldSpec:
    """One field of a RunConfig: its name, its meaning and its valid values.

    `minimum` and `maximum` bound the value of a number or the length of a text (both inclusive); `optional` fields may
    be None.
    """

    name: str
    kind: Kind
    label: str
    help: str
    default: SettingValue
    minimum: float | None
    maximum: float | None
    choices: Collection[str]
    optional: bool

    def check(self, value: object) -> SettingValue:
        """Return the value as the field stores it; ConfigError that names field, value and what is allowed."""
        if value is None and self.optional:
            return None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "int" and number and isinstance(value, int) and self._within(value):
            return value
        if self.kind == "float" and number and self._within(cast(float, value)):
            return float(cast(float, value))
        if self.kind == "text" and isinstance(value, str) and self._within(len(value)) and _one_line(value):
            return value
        if self.kind == "choice" and isinstance(value, str) and value in self.choices:
            return value
        raise ConfigError(f"{self.label} ({self.name}) is {_shortened(value)}; {self.allowed}.")

    @property
    def allowed(self) -> str:
        """The valid values, in words that continue a sentence after "; "."""
        if self.kind == "choice":
            words = f"choose one of: {', '.join(self.choices)}"
        elif self.kind == "text":
            words = f"use a line of {self.minimum:.0f} to {self.maximum:.0f} characters"
        else:
            noun = "a whole number" if self.kind == "int" else "a number"
            words = f"use {noun} from {_bound_words(self.minimum)} to {_bound_words(self.maximum)}"
        return words + (", or leave it empty" if self.optional else "")

    def _within(self, number: float) -> bool:
        low, high = cast(float, self.minimum), cast(float, self.maximum)
        return low <= number <= high  # false for nan


def _one_line(text: str) -> bool:
    """Return whether a text has neither control characters nor unpaired surrogates."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _bound_words(bound: float | None) -> str:
    return f"{bound:,.10g}"


def _shortened(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with thousands of digits, or deeply nested lists
        text = f"<{type(value).__name__} too large to print>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _setting(
    default: Any,
    kind: Kind,
    label: str,
    help_text: str,
    allowed: tuple[float, float] | Collection[str],
    optional: bool = False,
) -> Any:
    """Return a dataclass field whose metadata becomes its FieldSpec; `allowed`: a range or the choices."""
    chosen = kind == "choice"
    low, high = (None, None) if chosen else cast(tuple[float, float], allowed)
    choices = cast(Collection[str], allowed) if chosen else ()
    spec = FieldSpec("", kind, label, help_text, default, low, high, choices, optional)
    return field(default=default, metadata={"spec": spec})


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run; ConfigError that names every invalid one.

    `teacher` is a model id; `source` is `auto`, `bundled`, `hub`, `own/ID` or a GLUE folder. Whether they exist is
    checked where they are opened.
    """

    task: str = _setting("sst2", "choice", "Task", "The GLUE task the student learns.", tuple(TASKS))
    teacher: str = _setting(
        "bundled/sst2-teacher", "text", "Teacher", "The fine-tuned model the student learns from.", (1, 4096)
    )
    method: str = _setting(
        "ad_kd", "choice", "Method", "How the student learns from the teacher.", DISTILLATION_METHODS.keys()
    )
    student_init: str = _setting(
        "first",
        "text",
        "Student starts from",
        "The teacher's first, even or last layers, random weights, or a model (id or folder).",
        (1, 4096),
    )
    student_layers: int = _setting(
        3, "int", "Layers", "Encoder layers of a student that is made from the teacher.", (1, 48)
    )
    source: str = _setting("auto", "text", "Data source", "Where the examples are read from.", (1, 4096))
    train_examples: int | None = _setting(
        None, "int", "Training examples", "How many training examples to use; empty for all.", (1, 10_000_000), True
    )
    steps: int = _setting(200, "int", "Steps", "Optimizer steps, one batch each.", (1, 1_000_000))
    batch_size: int = _setting(32, "int", "Batch size", "Examples in one step.", (1, 1024))
    micro_batch: int | None = _setting(
        None,
        "int",
        "Micro-batch",
        "Examples of a batch computed at once; empty for as many as memory allows.",
        (1, 1024),
        True,
    )
    learning_rate: float = _setting(3e-4, "float", "Learning rate", "Peak learning rate of AdamW.", (1e-8, 0.1))
    alpha: float = _setting(
        0.8, "float", "Soft-target share α", "Weight of the teacher's answers; the labels get 1 − α.", (0.0, 1.0)
    )
    temperature: float = _setting(
        2.0,
        "float",
        "Temperature τ",
        "Divides the logits (or scores) of teacher and student before they are compared.",
        (0.1, 100),
    )
    kd_form: str = _setting(
        "cross_entropy", "choice", "Form of KD", "Soft cross-entropy (AD-KD's code), or KL divergence × τ²/C (GKD's).",
        KD_FORMS,
    )  # fmt: skip
    temperature_schedule: str = _setting(
        "fixed", "choice", "τ over the run", "Whether τ is constant or falls linearly to 1 at the last step.", SCHEDULES
    )
    method_weight: float = _setting(
        1.0, "float", "Method weight w", "Weight of what the method adds to plain KD.", (0.0, 10_000)
    )
    pkd_weight: float = _setting(
        100.0, "float", "PKD weight β", "Weight of the [CLS] states term of PKD and GKD-CLS.", (0.0, 100_000)
    )
    matching: str = _setting(
        "skip",
        "choice",
        "Matched layers",
        "Teacher layers that the student's layers are compared with: evenly spaced or the last ones.",
        MATCHING,
    )
    method_delay: int = _setting(
        0, "int", "Method delay", "Steps before the method's terms get any weight.", (0, 1_000_000)
    )
    method_ramp: int = _setting(
        0, "int", "Method ramp", "Steps over which the method's weight then rises linearly to w.", (0, 1_000_000)
    )
    method_every: int = _setting(
        1,
        "int",
        "Method interval",
        "Steps from one computation of the method's terms to the next; more than 1 saves time.",
        (1, 1_000),
    )
    erasures: int = _setting(
        4, "int", "Erasures", "Random sets of tokens drawn for each example, each to be erased together.", (1, 64)
    )
    erasures_each_step: int = _setting(
        1, "int", "Erasures per step", "Number of the drawn sets that each step uses.", (1, 64)
    )
    rationale_share: float = _setting(
        0.25,
        "float",
        "Rationale share",
        "Share of a text's tokens that form its rationale: those that matter most to the teacher.",
        (0.01, 1.0),
    )
    relation_heads: int | None = _setting(
        None,
        "int",
        "Relation heads",
        "Heads that MiniLM splits queries, keys and values into; empty for up to 12.",
        (1, 1024),
        True,
    )
    relation_layer: int | None = _setting(
        None,
        "int",
        "Teacher’s relation layer",
        "Teacher layer that MiniLM matches; empty for the last one (over 12 layers: at 7/8).",
        (1, 1000),
        True,
    )
    attribution_steps: int = _setting(
        1, "int", "Attribution steps m", "Points on the path of AD-KD's integrated gradients.", (1, 64)
    )
    map_norm: str = _setting("l2", "choice", "Norm of a map", "AD-KD scales each map so that this norm is 1.", NORMS)
    map_distance: str = _setting(
        "l2", "choice", "Distance of maps", "How AD-KD measures the difference of two maps at each token.", DISTANCES
    )
    top_k: int | None = _setting(
        None,
        "int",
        "Top dimensions K",
        "How many dimensions of each token, the largest ones, the teacher's AD-KD map uses; empty for all.",
        (1, 16_384),
        True,
    )
    evaluate_every: int = _setting(
        20, "int", "Evaluate every", "Steps between two evaluations, each of which saves a checkpoint.", (1, 1_000_000)
    )
    monitor: str = _setting(
        "metric", "choice", "Best by", "Metric that selects the best checkpoint and triggers early stopping.", MONITORS
    )
    early_stopping_patience: int | None = _setting(
        None,
        "int",
        "Patience",
        "Evaluations in a row without improvement after which the run ends; empty for never.",
        (1, 10_000),
        True,
    )
    max_minutes: float | None = _setting(
        None,
        "float",
        "Time limit (minutes)",
        "Minutes of training after which the run ends; empty for no limit.",
        (0.01, 100_000),
        True,
    )
    keep: str = _setting(
        KEEP_CHOICES[0],
        "choice",
        "Keep",
        "Which student a finished run keeps; curves, settings and log are always kept.",
        KEEP_CHOICES,
    )
    weak_teacher: str = _setting(
        "stop",
        "choice",
        "Weak teacher",
        "Whether a teacher near chance stops the run; below 100 validation examples it only warns.",
        WEAK,
    )
    dropout: str = _setting(
        "published",
        "choice",
        "Dropout",
        "The student's dropout in training; published: on or off as in the code of the method's authors.",
        DROPOUT,
    )
    seed: int = _setting(0, "int", "Seed", "Decides data order and dropout.", (0, 2**32 - 1))
    device: str = _setting(
        "auto", "choice", "Device", "Where to train; auto takes the fastest available device, cuda any GPU.", DEVICES
    )
    precision: str = _setting(
        "auto",
        "choice",
        "Precision",
        "Precision of the student in training; auto: bfloat16 on CUDA (weights and losses stay float32).",
        PRECISIONS,
    )
    max_length: int = _setting(
        128, "int", "Maximum length", "Tokens of an example beyond this number are cut off.", (8, 512)
    )
    name: str = _setting("", "text", "Name", "Name of the run; empty for its id.", (0, 200))

    def __post_init__(self) -> None:
        """Check every field, so that one error names all invalid settings."""
        wrong = []
        for spec in FIELDS.values():
            try:
                object.__setattr__(self, spec.name, spec.check(getattr(self, spec.name)))
            except ConfigError as error:
                wrong.append(str(error))
        if wrong:
            raise ConfigError(" ".join(wrong))

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every term of the loss, by the term's name."""
        common = {"ce": 1.0 - self.alpha, "kd": self.alpha}
        return common | {term.name: getattr(self, term.weight) for term in DISTILLATION_METHODS[self.method].terms}

    @property
    def made_from_teacher(self) -> bool:
        """Whether the student is built from its teacher rather than from another model."""
        return self.student_init in FROM_TEACHER

    @property
    def uses_dropout(self) -> bool:
        """Whether the student's dropout is on in training."""
        return DISTILLATION_METHODS[self.method].dropout if self.dropout == "published" else self.dropout == "on"

    @property
    def arguments(self) -> list[str]:
        """The arguments of the command line that repeat this run: every setting that differs from its default."""
        words = ["distill"]
        for spec in FIELDS.values():
            value = getattr(self, spec.name)
            if value != spec.default or spec.name in ("task", "teacher", "method", "seed"):
                words.append(f"--{spec.name.replace('_', '-')}={value}")
        return words

    @property
    def command(self) -> str:
        """The command line that repeats this run, on any machine; for this one see `shell_command`."""
        return shlex.join(["python", "-m", "distill_core", *self.arguments])

    def to_json(self) -> str:
        """Return all fields as one JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> "RunConfig":
        """Build a config from named values, with defaults for the rest; ConfigError for an unknown name."""
        values = current_names(values)
        unknown = [name for name in values if name not in FIELDS]
        if unknown:
            raise ConfigError(
                f"Unknown setting {', '.join(_shortened(name) for name in unknown)}; choose among: {', '.join(FIELDS)}."
            )
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> "RunConfig":
        """Read what `to_json` wrote; ConfigError where it is damaged or contains an unknown setting."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"The stored settings of a run are not valid JSON ({error}); wanted a JSON object. Delete it "
                "and start a new run."
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(
                f"The stored settings of a run are {_shortened(values)}; wanted a JSON object. Delete it and start a "
                "new run."
            )
        return cls.from_values(values)


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under the names of this version; ConfigError where one is set under its old and new name."""
    both = [f"{old} and {new}" for old, new in RENAMED.items() if old in values and new in values]
    if both:
        raise ConfigError(f"The settings contain {', '.join(both)}, two names of one setting; use the second one only.")
    return {RENAMED.get(name, name): value for name, value in values.items()}


FIELDS: dict[str, FieldSpec] = {item.name: replace(item.metadata["spec"], name=item.name) for item in fields(RunConfig)}
