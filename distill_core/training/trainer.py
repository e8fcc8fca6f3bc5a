"""The training loop: minimises L = (1 − α)·CE + α·KD(τ) + w·(method term) and yields events.

It writes no files and no database: the caller stores the events, and ends the training early by closing the iterator.
A distilled student keeps its teacher's embedding block unchanged (as in GKD; for AD-KD this is our choice), so that E
is the same for both.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from distill_core.errors import RunError
from distill_core.models.encoder import embed
from distill_core.models.micro_batches import halve, run_within_memory, split_rows
from distill_core.models.tokenization import Encoded, Inputs, collate, length_batches
from distill_core.objectives import ForwardPass, Loss, Part, Terms, forward_pass
from distill_core.objectives.base import NOTHING
from distill_core.objectives.kd import label_loss
from distill_core.runs import metric_names
from distill_core.runs.early_stopping import Stopping
from distill_core.runs.events import Ended, Event, Measured, Note, Phase
from distill_core.training.eta import EtaEstimator
from distill_core.training.resource_usage import Usage, memory_mb
from distill_core.training.state import TrainingState, random_states, set_random_states
from distill_core.training.teacher_cache import TeacherCache

WARMUP = 0.1  # share of the steps over which the learning rate rises, then falls linearly to 0
SHARES_EVERY = 10  # steps between two measurements of each term's share of the gradient
CLIP = 1.0  # largest gradient norm, as in the AD-KD authors' scripts
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised examples with gold labels (N,), int64 classes or float32 scores; ids of the padding and mask tokens."""

    rows: Sequence[Encoded]
    labels: Shaped[Tensor, " example"]
    pad_id: int
    mask_id: int | None = None


class Training:
    """Trains a student in place. Iterate `events()`; `state()` at any event is what `resume` needs."""

    def __init__(
        self,
        *,
        student: PreTrainedModel,
        train: TrainingSet,
        teacher: TeacherCache | None,
        loss: Loss | None,
        dropout: bool = True,
        mixed: bool = False,
        steps: int,
        batch_size: int,
        micro_batch: int | None = None,
        learning_rate: float,
        seed: int,
        evaluate: Callable[[], Mapping[str, float]],
        evaluate_every: int,
        stopping: Stopping | None = None,
    ) -> None:
        """Prepare a training of `steps` optimizer steps; without `teacher` and `loss` it is fine-tuning on the labels.

        `dropout`: whether the student uses dropout; `mixed`: autocast to bfloat16 where supported. `micro_batch`: the
        number of examples computed at once, None for the whole batch; halved, with a note, when memory runs out. Apart
        from dropout and rounding, the gradient of a step does not depend on it. `evaluate()` is called before the first
        step, every `evaluate_every` steps and after the last. The caller chooses the trained parameters
        (`requires_grad`). `stopping` may end the training before its last step; the learning rate schedule covers all
        steps nevertheless. The same arguments on the same device give the same weights (all random numbers come from
        `seed`).
        """
        self._student, self._teacher, self._dropout, self._seed = student, teacher, dropout, seed
        self._steps, self._evaluate, self._every = steps, evaluate, evaluate_every
        self._update = _Update(student, learning_rate, steps, min(micro_batch or batch_size, batch_size))
        self._loss = TrainingLoss(student, train, teacher, loss, steps, mixed)
        self._batches = _endless_batches(train, batch_size, torch.Generator().manual_seed(seed))
        self._step, self._evaluated = 0, -1  # the steps taken, and the step of the latest evaluation
        self._seconds = 0.0  # of training, earlier processes included
        self._remaining = EtaEstimator()
        self._random: Mapping[str, Tensor] | None = None
        self._stopping = stopping or Stopping("")

    def state(self) -> TrainingState:
        """Return all that the next step depends on besides the student's weights."""
        numbers = {
            "evaluated": self._evaluated, "seconds": self._seconds, "update": self._update.numbers(),
            "stopping": self._stopping.numbers(), "evaluations": self._remaining.evaluations,
        }  # fmt: skip
        return TrainingState(self._step, numbers, self._update.tensors() | random_states(self._student.device))

    def resume(self, state: TrainingState) -> None:
        """Continue from the state of a training with the same arguments; RunError if the arguments were different.

        The student's weights must be loaded already. On the CPU, the next steps equal those of an uninterrupted
        training.
        """
        try:
            self._update.set(state.numbers["update"], state.tensors)
            self._stopping.set(state.numbers["stopping"])
            self._evaluated, self._seconds = int(state.numbers["evaluated"]), float(state.numbers["seconds"])
            # Earlier versions stored no evaluation times.
            self._remaining = EtaEstimator(map(float, state.numbers.get("evaluations", ())))
            self._random = {name: state.tensors[name] for name in state.tensors if name.startswith("random/")}
            if not 0 < state.step <= self._steps or "random/cpu" not in self._random:
                raise ValueError(f"step {state.step} of {self._steps}")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise RunError(
                f"The checkpoint does not fit the settings of this run ({error}). Start a new run with the same "
                "settings."
            ) from error
        self._step = state.step
        for _ in range(self._step):
            next(self._batches)

    def events(self) -> Iterator[Event]:
        """Train and yield events; RunError with step and term if a term is not finite.

        The values of `evaluate()` are yielded unchanged. The student is in eval mode then, and after the iterator ends.
        """
        if self._student.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._student.device)
        if self._random is None:
            torch.manual_seed(self._seed)
        else:
            set_random_states(self._random, self._student.device)
        try:
            usage, mark = Usage(self._student.device), time.perf_counter()
            if self._due():
                yield Phase("evaluating", f"after step {self._step}" if self._step else "before the first step")
                yield self._measure()
                mark = self._record_evaluation(mark)
            began, before = mark, self._seconds
            yield Phase("training", f"{self._steps} steps" + (f", from step {self._step}" if self._step else ""))
            while self._step < self._steps and (why := self._stopping.reason(self._step, self._seconds)) is None:
                start = time.perf_counter()
                examples, values = yield from self._advance()
                now = time.perf_counter()
                self._seconds = before + now - began
                self._remaining.step(now - mark)  # the work between the steps included
                mark = now
                sampled = usage.sample() | self._forecast() if usage.due() else {}
                yield Measured(self._step, values | self._pace(examples, now - start) | sampled)
                if self._due():
                    yield self._measure()
                    mark = self._record_evaluation(mark)
            if self._step < self._steps:
                if self._evaluated < self._step:
                    yield self._measure()
                yield Ended(str(why))
        finally:
            self._student.eval()
            if self._teacher is not None:
                self._teacher.save()

    def _advance(self) -> Generator[Event, None, tuple[int, dict[str, float]]]:
        """Take the next step; return its number of examples and its values by metric name."""
        self._student.train(self._dropout)
        step, rows, update = self._step + 1, next(self._batches), self._update
        work = partial(update.gradients, step, self._loss, rows)
        while (values := run_within_memory(work, self._student.device)) is None:
            yield Note(update.halve(step, len(rows)))
        values |= update.step(step)
        self._step = step
        return len(rows), values

    def _pace(self, examples: int, seconds: float) -> dict[str, float]:
        speed = {metric_names.EXAMPLES_PER_SECOND: examples / seconds, metric_names.STEP_SECONDS: seconds}
        return speed | {metric_names.MEMORY_MB: memory_mb(self._student.device)}

    def _forecast(self) -> dict[str, float]:
        """Return the remaining seconds, most likely, 10th and 90th percentile; empty before they can be estimated."""
        evaluations = -(-self._steps // self._every) - (self._step - 1) // self._every  # one after this step, too
        forecast = self._remaining.forecast(self._steps - self._step, evaluations)
        if forecast is None:
            return {}
        if self._stopping.seconds is not None:
            forecast = forecast.within(max(0.0, self._stopping.seconds - self._seconds) + self._remaining.longest)
        return {
            metric_names.SECONDS_LEFT: forecast.likely,
            metric_names.SECONDS_LEFT_LOW: forecast.low,
            metric_names.SECONDS_LEFT_HIGH: forecast.high,
        }

    def _record_evaluation(self, mark: float) -> float:
        """Record the duration of an evaluation and of saving, which began at `mark`; return the current time."""
        now = time.perf_counter()
        self._remaining.evaluation(now - mark)
        return now

    def _due(self) -> bool:
        return self._evaluated < self._step and (self._step % self._every == 0 or self._step == self._steps)

    def _measure(self) -> Measured:
        """Evaluate the student. The teacher's new outputs are stored first, because a resumed training reads them."""
        if self._teacher is not None and self._step:
            self._teacher.save()
        self._student.eval()
        measured = Measured(self._step, dict(self._evaluate()))
        self._evaluated = self._step
        self._stopping.update(self._step, measured.values)
        return measured


@dataclass(frozen=True)
class TrainingLoss:
    """The loss of a run on its training set, term by term for any batch. `steps`: the number of steps of the run."""

    student: PreTrainedModel
    train: TrainingSet
    teacher: TeacherCache | None
    loss: Loss | None
    steps: int
    mixed: bool = False

    def terms(self, step: int, rows: Sequence[int], size: int) -> Iterator[Terms]:
        """Yield the terms and their weights for each part of a batch, `size` examples each; the parts add up."""
        batches = [self._batch(chosen) for chosen in split_rows(rows, size)]
        if self.teacher is None or self.loss is None:
            for batch in batches:
                raw = label_loss(self._forward(*batch).logits, batch[1])
                yield {"ce": (len(batch[1]) / len(rows) * raw, 1.0)}
            return
        outputs = [
            self.teacher.batch(chosen, *batch) for chosen, batch in zip(split_rows(rows, size), batches, strict=True)
        ]
        counts = self.loss.counts([targets for _, targets in outputs])
        for index, (batch, (logits, targets)) in enumerate(zip(batches, outputs, strict=True)):
            part = Part(step, self.steps, len(rows), counts, index)
            yield self.loss.terms(self._forward(*batch), logits, targets, part)

    def _batch(self, rows: Sequence[int]) -> tuple[Inputs, Tensor]:
        device = self.student.device
        inputs = collate([self.train.rows[row] for row in rows], self.train.pad_id).to(device)
        return inputs, self.train.labels[list(rows)].to(device)

    def _forward(self, inputs: Inputs, labels: Tensor) -> ForwardPass:
        objective = self.loss.objective if self.loss is not None else None
        needs = objective.needs if objective is not None else NOTHING
        return student_pass(self.student, inputs, labels, self.train.mask_id, self.mixed, needs)


class _Update:
    """Steps of AdamW with gradient clipping and a learning rate that warms up and falls linearly to 0.

    `size`: the number of examples computed at once.
    """

    def __init__(self, student: PreTrainedModel, learning_rate: float, steps: int, size: int) -> None:
        self._size = size
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)
        self._shares_due, self._most_terms = 1, 0  # the step of the next shares, and the most terms of any step
        self._schedule = get_linear_schedule_with_warmup(self._optimizer, int(WARMUP * steps), steps)

    def numbers(self) -> dict[str, Any]:
        """Return the numbers that the next step depends on, under names that checkpoints store."""
        rate, schedule = self._optimizer.param_groups[0]["lr"], self._schedule.state_dict()
        due, most = self._shares_due, self._most_terms
        return {"size": self._size, "look": due, "most": most, "rate": rate, "schedule": schedule}

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's moments as `moment/PARAMETER/NAME`, parameters counted from 0."""
        moments = self._optimizer.state_dict()["state"]
        return {f"moment/{at}/{name}": value for at, own in moments.items() for name, value in own.items()}

    def set(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Restore what `numbers` and `tensors` returned; ValueError if the parameters have other shapes."""
        self._size, self._shares_due, self._most_terms = (int(numbers[name]) for name in ("size", "look", "most"))
        moments: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            kind, _, rest = path.partition("/")
            if kind == "moment":
                number, _, name = rest.partition("/")
                moments.setdefault(int(number), {})[name] = tensor
        for at, own in moments.items():
            if any(tensor.ndim and tensor.shape != self._parameters[at].shape for tensor in own.values()):
                raise ValueError(f"parameter {at} has another shape")
        groups = self._optimizer.state_dict()["param_groups"]
        groups[0]["lr"] = float(numbers["rate"])
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._schedule.load_state_dict(dict(numbers["schedule"]))

    def halve(self, step: int, examples: int) -> str:
        """Halve the number of examples computed at once and return a note about it; RunError if it is already 1."""
        before = min(self._size, examples)
        self._size = halve(before)
        return f"Step {step}: {before} examples at once do not fit in memory; from now on {self._size} are computed."

    def gradients(self, step: int, training_loss: TrainingLoss, rows: Sequence[int]) -> dict[str, float]:
        """Compute the gradient of the weighted sum of the terms; return their values, RunError if one is not finite."""
        self._optimizer.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        shares: dict[str, float] = {}
        for terms in training_loss.terms(step, rows, self._size):
            for name, (raw, _) in terms.items():
                _check_finite(step, f"{name} term", raw)
            if not values:
                shares = self._shares(step, terms)
            # A term of weight 0 is left out, so that it does not even change the rounding.
            loss = torch.stack([raw * weight for raw, weight in terms.values() if weight]).sum()
            loss.backward()
            _add(values, metric_names.LOSS, loss.item())
            for name, (raw, weight) in terms.items():
                _add(values, name, raw.item())
                _add(values, metric_names.WEIGHTED + name, raw.item() * weight)
        if shares:
            self._shares_due = step + SHARES_EVERY
        return values | shares

    def step(self, step: int) -> dict[str, float]:
        """Take an optimizer step; return the gradient's norm and the learning rate, RunError if it is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        _check_finite(step, "gradient norm", norm)
        rate = self._optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._schedule.step()
        return {metric_names.GRADIENT_NORM: norm.item(), metric_names.LEARNING_RATE: rate}

    def _shares(self, step: int, terms: Terms) -> dict[str, float]:
        """Return the gradient norm of each weighted term as a share of their sum; empty unless due, or if all are 0.

        Of a batch that is computed in parts, only the first part is measured.
        """
        self._most_terms = max(self._most_terms, len(terms))  # the first step has all terms
        if step < self._shares_due or len(terms) < self._most_terms or self._most_terms == 1:
            return {}
        norms = {}
        for name, (raw, weight) in terms.items():
            gradients = torch.autograd.grad(raw * weight, self._parameters, retain_graph=True, allow_unused=True)
            norms[metric_names.SHARE + name] = math.hypot(*(float(g.norm()) for g in gradients if g is not None))
        total = sum(norms.values())
        return {name: norm / total for name, norm in norms.items()} if total > 0 else {}


def _add(values: dict[str, float], name: str, value: float) -> None:
    values[name] = values.get(name, 0.0) + value


def _check_finite(step: int, name: str, value: Tensor) -> None:
    if not torch.isfinite(value):
        raise RunError(
            f"Step {step}: the {name} is not finite ({value.item()}). "
            "Lower the learning rate or the method weight and start again."
        )


def student_pass(
    student: PreTrainedModel,
    inputs: Inputs,
    labels: Shaped[Tensor, " batch"],
    mask_id: int | None = None,
    mixed: bool = False,
    needs: frozenset[str] = NOTHING,
) -> ForwardPass:
    """Run the student on a batch with a graph from E on (from the embeddings' weights on, if they are trained)."""
    embeddings = embed(student, inputs)
    if not embeddings.requires_grad:
        embeddings.requires_grad_()
    return forward_pass(student, embeddings, inputs, labels, mask_id, mixed, needs)


def _endless_batches(train: TrainingSet, batch_size: int, order: torch.Generator) -> Iterator[list[int]]:
    lengths = [len(row.ids) for row in train.rows]
    while True:
        yield from length_batches(lengths, batch_size, order)
