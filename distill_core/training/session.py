"""One run, built from its settings: opens teacher and data, builds, trains and saves the student."""

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

FEWEST_TO_REFUSE = 100  # with fewer validation examples, a teacher near chance causes a note, not an error
START_NEW_RUN = "Start a new run with the same settings."


class Session:
    """A run in this process. Iterate `events()` to train; `save` works at any time once there is a student."""

    def __init__(self, config: RunConfig, checkpoint: Path | None = None) -> None:
        self.config, self._checkpoint = config, checkpoint
        self._record = read_record(checkpoint) if checkpoint else {}
        if checkpoint and not _is_complete(self._record):
            raise RunError(
                f"The run cannot be resumed: {checkpoint / RECORD}, which holds its position, is missing or damaged. "
                f"{START_NEW_RUN}"
            )
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
        """Train the student and yield the run's events; closing the iterator ends the run and keeps the student as is.

        Subclasses of DistillError, with a message for the user, if the run cannot start or continue.
        """
        config = self.config
        yield Phase("loading", f"teacher {config.teacher}")
        teacher = self._teacher = open_model(config.teacher, config.device, config.task)
        self._fingerprints["teacher"] = teacher.fingerprint
        student, length = self._build_student(teacher)
        self._student = student
        yield Phase("loading", "examples")
        train, validation = run_data(config)
        used = [DataUsed(data.split, data.source, len(data.examples), data.fingerprint) for data in (train, validation)]
        self._check_unchanged(used)
        yield from used
        if (before := self._record.get("versions", versions())) != versions():
            yield Note(
                f"started with {before}, resumed with {versions()}: numbers may differ from an uninterrupted run"
            )
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
        yield Note(f"teacher outputs stored for {cache.known} of {len(rows)} examples; the others are computed once")
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
            self._resume(self._training, student, self._checkpoint)
        yield from self._training.events()

    def save(self, path: Path, record: dict[str, Any]) -> None:
        """Write the student as a Hugging Face folder, with the training state that a resumed run needs.

        RunError if there is no student yet.
        """
        if self._student is None or self._teacher is None:
            raise RunError(
                "There is no student to save: the run ended before its teacher and data were loaded. Start it again."
            )
        method = DISTILLATION_METHODS[self.config.method].title
        about = {
            "task": self.config.task,
            "description": f"{layer_count(self._student)} layers, {method}, {self.config.teacher}",
            "parameters": sum(parameter.numel() for parameter in self._student.parameters()),
            "fingerprints": self._fingerprints,
            "versions": self._record.get("versions", versions()),  # those the run started with, if it was resumed
        }
        state = None if self._training is None else self._training.state()
        save_model(
            self._student, self._teacher.tokenizer, path, about | record, state.write if state is not None else None
        )

    def _measure_teacher(
        self, teacher: LoadedModel, held_out: Sequence[Encoded], labels: Sequence[Answer]
    ) -> Iterator[Event]:
        """Measure the majority-class baseline and the teacher; RunError if the teacher is hardly better."""
        task = get_task(self.config.task)
        constant = constant_metrics(task, labels)
        yield Measured(0, {metric_names.CONSTANT + name: value for name, value in constant.items()})
        yield Phase("evaluating", "the teacher")
        answers = predicted_answers(teacher_logits(teacher, held_out, torch.tensor(labels)))
        metrics = task_metrics(task, answers, labels)
        yield Measured(0, {metric_names.TEACHER + name: value for name, value in metrics.items()})
        yield from self._check_teacher(metrics[task.metric], constant[task.metric], len(held_out))

    def _check_unchanged(self, used: Sequence[DataUsed]) -> None:
        """Raise RunError if the teacher or the data of a resumed run have changed since it started."""
        if not self.begin:
            return
        if self._record.get("fingerprints", {}).get("teacher") != self._fingerprints["teacher"]:
            raise RunError(f"The teacher {self.config.teacher} has changed since the run started. {START_NEW_RUN}")
        before = {data["split"]: data["fingerprint"] for data in self._record.get("data", [])}
        for data in used:
            if before.get(data.split) != data.fingerprint:
                raise RunError(
                    f"The {data.split} examples from {data.source} have changed since the run started. {START_NEW_RUN}"
                )

    def _resume(self, training: Training, student: PreTrainedModel, checkpoint: Path) -> None:
        """Load the checkpoint, which may be of step 0, into student and training."""
        state = TrainingState.read(checkpoint)
        if state.step != self.begin:
            raise RunError(
                f"The checkpoint {checkpoint} is damaged: its record is of step {self.begin}, its training state of "
                f"step {state.step}. {START_NEW_RUN}"
            )
        if self.begin:
            student.load_state_dict(load_model(checkpoint, device=str(student.device)).network.state_dict())
            training.resume(state)

    def _check_teacher(self, metric: float, constant: float, count: int) -> Iterator[Note]:
        """Raise RunError, or yield a note, if the teacher's metric is near the majority-class baseline."""
        if metric > constant + NEAR_CHANCE:
            return
        task = get_task(self.config.task)
        words = (
            f"The teacher's {task.metric} on {count} validation examples is {metric:.3f}; {task.baseline_title}: "
            f"{constant:.3f}. There is next to nothing to learn from it."
        )
        if count >= FEWEST_TO_REFUSE and self.config.weak_teacher == "stop":
            raise RunError(f"{words} Choose another teacher or other data, or continue anyway (weak_teacher go_on).")
        yield Note(words)

    def _build_student(self, teacher: LoadedModel) -> tuple[PreTrainedModel, int]:
        """Return the untrained student and the longest input of both models; ModelError if they do not fit together.

        A student made of the teacher's layers keeps the teacher's embeddings frozen; any other trains its own.
        """
        config = self.config
        method = DISTILLATION_METHODS[config.method]
        if method.erases and teacher.mask_id is None:
            raise ModelError(
                f"{method.title} replaces tokens by [MASK], and the tokenizer of {teacher.id} has no such token. "
                "Choose another method or teacher."
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
                f"The student {student.id} and the teacher {teacher.id} split text into different tokens; distillation "
                "compares them token by token. Choose two models with the same tokenizer."
            )
        widths = [embed_width(model.network) for model in (student, teacher)]
        if method.same_embedding_width and widths[0] != widths[1]:
            raise ModelError(
                f"{method.title} compares gradients at the embeddings, which must have one width; {student.id} has "
                f"{widths[0]}, its teacher {widths[1]}. Choose another student or method."
            )
        self._fingerprints["student"] = student.fingerprint
        return make_trainable(student.network, embeddings=True), min(length, student.max_length)


def _is_complete(record: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint's record holds all that a resumed run reads from it."""
    steps, data = (record.get("step"), record.get("best", 0)), record.get("data", [])
    return (
        all(type(step) is int and step >= 0 for step in steps)
        and isinstance(record.get("fingerprints"), dict)
        and isinstance(data, list)
        and all(isinstance(one, dict) and {"split", "fingerprint"} <= one.keys() for one in data)
    )


def _mixed(config: RunConfig, device: torch.device) -> bool:
    """Tell whether the student uses autocast to bfloat16; `auto`: on CUDA devices that support it."""
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.precision == "bfloat16"


def run_data(config: RunConfig) -> tuple[Dataset, Dataset]:
    """Return the training examples a run can use, and the validation examples.

    The samples do not depend on the seed, so that all runs share the stored outputs of their teacher.
    """
    needed = config.steps * config.batch_size
    if config.train_examples is not None:
        needed = min(needed, config.train_examples)
    train = load_split(config.task, "train", config.source).sample(needed, 0)
    validation = load_split(config.task, "validation", config.source).sample(VALIDATION_LIMIT, 0)
    return train, validation


def prepare(config: RunConfig, checkpoint: Path | None = None) -> Session:
    """Return the session of a run that starts anew or resumes from a checkpoint that an earlier session saved.

    Models and data are loaded when its events are iterated. RunError if the record of the checkpoint is damaged.
    """
    return Session(config, checkpoint)
