"""One run from its settings: opens teacher and data, builds the student, trains it, and can save it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import PROBE_EXAMPLES, VALIDATION_LIMIT, RunConfig
from distill_core.data.datasets import Dataset, load_split
from distill_core.data.tasks import Answer, get_task
from distill_core.errors import ModelError, RunError
from distill_core.metrics.task_metrics import constant_metrics, task_metrics
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, embed_width, load_model, make_trainable, read_record, save_model
from distill_core.models.evaluation import gold_labels, predict_logits, predicted_answers
from distill_core.models.layers import build_random_student, keep_layers, layer_count
from distill_core.models.tokenization import Encoded, encode_all
from distill_core.models.tokenizer_digest import same_tokens
from distill_core.objectives import make_loss
from distill_core.runs import metric_names
from distill_core.runs.diagnostics import NEAR_CHANCE
from distill_core.runs.early_stopping import Stopping
from distill_core.runs.events import DataUsed, Event, Measured, Note, Phase
from distill_core.storage.checkpoints import RECORD
from distill_core.training.agreement_probe import Probe
from distill_core.training.state import TrainingState
from distill_core.training.teacher_cache import TeacherCache, teacher_logits
from distill_core.training.trainer import Training, TrainingSet
from distill_core.versions import versions

ENOUGH = 100  # validation examples; on fewer a teacher near chance is noted and not refused
START_ANEW = "Start a new run with the same settings."


class Session:
    """A run in this process: iterate `events()` to train, call `save` whenever there is a student."""

    def __init__(self, config: RunConfig, checkpoint: Path | None = None) -> None:
        self.config, self._checkpoint = config, checkpoint
        self._record = read_record(checkpoint) if checkpoint else {}
        if checkpoint and not _sound(self._record):
            raise RunError(f"{checkpoint / RECORD} is missing or damaged: it says where the run is. {START_ANEW}")
        self.begin = int(self._record.get("step", 0))
        monitor = config.monitor if "/" in config.monitor else metric_names.main_metric(get_task(config.task))
        minutes = None if config.max_minutes is None else 60 * config.max_minutes
        self._stopping = Stopping(
            monitor, config.early_stopping_patience, minutes, best_step=int(self._record.get("best", 0))
        )
        self._training: Training | None = None
        self._teacher: LoadedModel | None = None
        self._student: PreTrainedModel | None = None
        self._fingerprints: dict[str, str] = {}

    @property
    def best(self) -> int:
        """The step of the best evaluation so far, 0 before there is one."""
        return self._stopping.best_step

    def events(self) -> Iterator[Event]:
        """Do the run, yielding what happens; closing the iterator ends it and keeps the student as it is.

        Raises DistillError subclasses with a plain-words cause.
        """
        config = self.config
        yield Phase("loading", f"teacher {config.teacher}")
        teacher = self._teacher = open_model(config.teacher, config.device, config.task)
        self._fingerprints["teacher"] = teacher.fingerprint
        student, length = self._begin(teacher)
        self._student = student
        yield Phase("loading", "examples")
        train, validation = run_data(config)
        used = [DataUsed(data.split, data.source, len(data.examples), data.fingerprint) for data in (train, validation)]
        self._check_unchanged(used)
        yield from used
        if (before := self._record.get("versions", versions())) != versions():
            yield Note(f"begun with {before}, going on with {versions()}: other numbers than without the break")
        labels = gold_labels(train)
        if len(set(labels)) == 1:
            yield Note(f"All training examples have the label {get_task(config.task).label_name(labels[0])}.")
        rows = encode_all(teacher.tokenizer, train.examples, length)
        training = TrainingSet(rows, torch.tensor(labels), teacher.pad_id, teacher.mask_id)
        held_out = encode_all(teacher.tokenizer, validation.examples, length)
        yield Phase("loading", "teacher's maps on the probe sentences")
        probe = Probe(teacher, held_out[:PROBE_EXAMPLES])
        widths = [network.config.hidden_size for network in (student, teacher.network)]
        loss = make_loss(config, layer_count(student), layer_count(teacher.network), widths)
        cache = TeacherCache(teacher, loss.objective, rows, training.labels)
        yield Note(f"teacher numbers at hand for {cache.known} of {len(rows)} examples; each is computed once")
        task = get_task(config.task)
        if not self.begin:
            yield from self._measure_teacher(teacher, held_out, gold_labels(validation))

        def evaluate() -> dict[str, float]:
            predictions = predicted_answers(predict_logits(student, held_out, teacher.pad_id))
            metrics = task_metrics(task, predictions, gold_labels(validation))
            return {metric_names.VALIDATION + name: value for name, value in metrics.items()} | probe.measure(student)

        self._training = Training(
            student=student,
            train=training,
            teacher=cache,
            loss=loss,
            dropout=config.uses_dropout,
            mixed=_mixed(config, student.device),
            steps=config.steps,
            batch_size=config.batch_size,
            micro_batch=config.micro_batch,
            learning_rate=config.learning_rate,
            seed=config.seed,
            evaluate=evaluate,
            evaluate_every=config.evaluate_every,
            stopping=self._stopping,
        )
        if self._checkpoint is not None:
            self._go_on(self._training, student, self._checkpoint)
        yield from self._training.events()

    def save(self, path: Path, record: dict[str, Any]) -> None:
        """Write the student as a plain Hugging Face folder, with what its training goes on from.

        RunError when there is none yet.
        """
        if self._student is None or self._teacher is None:
            raise RunError("There is no student yet: the run ended while it was loading.")
        method = DISTILLATION_METHODS[self.config.method].title
        about = {
            "task": self.config.task,
            "description": f"{layer_count(self._student)} layers, {method}, {self.config.teacher}",
            "parameters": sum(parameter.numel() for parameter in self._student.parameters()),
            "fingerprints": self._fingerprints,
            "versions": self._record.get("versions", versions()),  # of its beginning, where it went on
        }
        state = None if self._training is None else self._training.state()
        save_model(
            self._student, self._teacher.tokenizer, path, about | record, state.write if state is not None else None
        )

    def _measure_teacher(
        self, teacher: LoadedModel, held_out: Sequence[Encoded], labels: Sequence[Answer]
    ) -> Iterator[Event]:
        """Measure what one answer for all would get, then the teacher; RunError where these are much the same."""
        task = get_task(self.config.task)
        constant = constant_metrics(task, labels)
        yield Measured(0, {metric_names.CONSTANT + name: value for name, value in constant.items()})
        yield Phase("evaluating", "the teacher")
        known = task_metrics(task, predicted_answers(teacher_logits(teacher, held_out, torch.tensor(labels))), labels)
        yield Measured(0, {metric_names.TEACHER + name: value for name, value in known.items()})
        yield from self._judge(known[task.metric], constant[task.metric], len(held_out))

    def _check_unchanged(self, used: Sequence[DataUsed]) -> None:
        """Raise RunError where a run that goes on would do so with another teacher or other data."""
        if not self.begin:
            return
        if self._record.get("fingerprints", {}).get("teacher") != self._fingerprints["teacher"]:
            raise RunError(f"The teacher {self.config.teacher} has changed since. {START_ANEW}")
        before = {data["split"]: data["fingerprint"] for data in self._record.get("data", [])}
        for data in used:
            if before.get(data.split) != data.fingerprint:
                raise RunError(f"The {data.split} examples from {data.source} have changed since. {START_ANEW}")

    def _go_on(self, training: Training, student: PreTrainedModel, checkpoint: Path) -> None:
        """Bring student and training to where the checkpoint is, which may be the beginning."""
        state = TrainingState.read(checkpoint)
        if state.step != self.begin:
            raise RunError(f"{checkpoint} is damaged: of step {self.begin} by its record, and is not. {START_ANEW}")
        if self.begin:
            student.load_state_dict(load_model(checkpoint, device=str(student.device)).network.state_dict())
            training.resume(state)

    def _judge(self, known: float, constant: float, count: int) -> Iterator[Note]:
        """Raise RunError where the teacher's metric is near that of one answer for all, or note it."""
        if known > constant + NEAR_CHANCE:
            return
        task = get_task(self.config.task)
        words = (
            f"The teacher's {task.metric} on {count} validation examples is {known:.3f}; {task.baseline_title}: "
            f"{constant:.3f}. There is next to nothing to learn from it."
        )
        if count >= ENOUGH and self.config.weak_teacher == "stop":
            raise RunError(f"{words} Choose another teacher or other data, or let the run go on (weak_teacher go_on).")
        yield Note(words)

    def _begin(self, teacher: LoadedModel) -> tuple[PreTrainedModel, int]:
        """Return the student before training, and how many tokens both read; ModelError where they do not fit.

        One made of the teacher's layers keeps the teacher's embeddings as they are; any other trains its own.
        """
        config = self.config
        method = DISTILLATION_METHODS[config.method]
        if method.erases and teacher.mask_id is None:
            raise ModelError(
                f"{method.title} erases tokens with [MASK], and the tokenizer of {teacher.id} has none: choose another "
                "method or teacher."
            )
        length = min(config.max_length, teacher.max_length)
        if config.student_init == "random":
            fresh = build_random_student(teacher.network, config.student_layers, config.seed)
            return make_trainable(fresh, embeddings=True), length
        if config.made_from_teacher:
            return make_trainable(keep_layers(teacher.network, config.student_layers, config.student_init)), length
        student = open_model(config.student_init, config.device, config.task)
        if not same_tokens(student, teacher):
            raise ModelError(
                f"The student {student.id} and the teacher {teacher.id} cut text into different tokens, so one cannot "
                "learn from the other token by token; choose two models with the same tokenizer."
            )
        widths = [embed_width(model.network) for model in (student, teacher)]
        if method.same_embedding_width and widths[0] != widths[1]:
            raise ModelError(
                f"{method.title} compares gradients at the embeddings; those of {student.id} "
                f"are {widths[0]} wide, its teacher's {widths[1]}: choose another student or method."
            )
        self._fingerprints["student"] = student.fingerprint
        return make_trainable(student.network, embeddings=True), min(length, student.max_length)


def _sound(record: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint's record has what a run needs to go on from it."""
    steps, data = (record.get("step"), record.get("best", 0)), record.get("data", [])
    return (
        all(type(step) is int and step >= 0 for step in steps)
        and isinstance(record.get("fingerprints"), dict)
        and isinstance(data, list)
        and all(isinstance(one, dict) and {"split", "fingerprint"} <= one.keys() for one in data)
    )


def _mixed(config: RunConfig, device: torch.device) -> bool:
    """Say whether the student computes in bfloat16 where it can; `auto`: on CUDA devices that have it."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.precision == "bfloat16"


def run_data(config: RunConfig) -> tuple[Dataset, Dataset]:
    """Return the training examples a run can use, and the validation examples.

    Which they are does not depend on the seed, so that all runs share what their teacher once computed.
    """
    needed = config.steps * config.batch_size
    if config.train_examples is not None:
        needed = min(needed, config.train_examples)
    train = load_split(config.task, "train", config.source).sample(needed, 0)
    validation = load_split(config.task, "validation", config.source).sample(VALIDATION_LIMIT, 0)
    return train, validation


def prepare(config: RunConfig, checkpoint: Path | None = None) -> Session:
    """Return the session of a run, from the beginning or going on from a checkpoint that one of its sessions saved.

    Nothing is loaded before its events are asked for; ModelError for a checkpoint whose record cannot be read.
    """
    return Session(config, checkpoint)
