"""The training loop: minimises L = (1 − α)·CE + α·KD(τ) + w·(method term) and says what it sees.

Knows no file, no database and no clock but its own: it yields events, whoever runs it keeps them, and
ends it early by closing the iterator. A distilled student keeps its teacher's embedding block as it is
(GKD's practice; for AD-KD this is ours), so that E means the same to both.
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
SHARES_EVERY = 10  # steps between two looks at how much each term's gradient counts
CLIP = 1.0  # largest gradient norm, as in the AD-KD authors' scripts
WEIGHT_DECAY = 0.01


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised examples with gold labels (N,), int64 classes or float32 scores; the ids to pad and to mask with."""

    rows: Sequence[Encoded]
    labels: Shaped[Tensor, " example"]
    pad_id: int
    mask_id: int | None = None


class Training:
    """A student being trained in place: iterate `events()`; `state()` at any of them is enough to go on from there."""

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
        """Take `steps` optimizer steps; without `teacher` and `loss` plain fine-tuning on the labels.

        `dropout`: whether the student's is on while it trains; `mixed`: whether it computes in bfloat16 what stands it.
        `micro_batch`: how many examples of a batch are computed at once, None for all; halved, with a note, when memory
        runs out. A step's gradient does not depend on it but for dropout and rounding. `evaluate()` is called before
        the first step, every `evaluate_every` steps and after the last. Which parameters are trained is the caller's to
        say (`requires_grad`). `stopping` may end it before its last step; the learning rate falls over all steps
        nevertheless. Same arguments, same device: same weights (random numbers come from `seed` alone).
        """
        self._student, self._teacher, self._dropout, self._seed = student, teacher, dropout, seed
        self._steps, self._evaluate, self._every = steps, evaluate, evaluate_every
        self._update = _Update(student, learning_rate, steps, min(micro_batch or batch_size, batch_size))
        self._loss = TrainingLoss(student, train, teacher, loss, steps, mixed)
        self._batches = _endless_batches(train, batch_size, torch.Generator().manual_seed(seed))
        self._step, self._evaluated = 0, -1  # the steps taken, and how many they were at the latest evaluation
        self._seconds = 0.0  # of training, in earlier processes
        self._remaining = EtaEstimator()
        self._random: Mapping[str, Tensor] | None = None
        self._stopping = stopping or Stopping("")

    def state(self) -> TrainingState:
        """Return what, with the student's weights, is all that the next step depends on."""
        numbers = {
            "evaluated": self._evaluated, "seconds": self._seconds, "update": self._update.numbers(),
            "stopping": self._stopping.numbers(), "evaluations": self._remaining.evaluations,
        }  # fmt: skip
        return TrainingState(self._step, numbers, self._update.tensors() | random_states(self._student.device))

    def resume(self, state: TrainingState) -> None:
        """Go on from a state of a training with the same arguments; RunError where it is of another one.

        The student has its weights already. The steps that follow are those of a training that was never interrupted.
        """
        try:
            self._update.set(state.numbers["update"], state.tensors)
            self._stopping.set(state.numbers["stopping"])
            self._evaluated, self._seconds = int(state.numbers["evaluated"]), float(state.numbers["seconds"])
            self._remaining = EtaEstimator(
                map(float, state.numbers.get("evaluations", ()))
            )  # earlier versions kept none
            self._random = {name: state.tensors[name] for name in state.tensors if name.startswith("random/")}
            if not 0 < state.step <= self._steps or "random/cpu" not in self._random:
                raise ValueError(f"step {state.step} of {self._steps}")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise RunError(
                f"The checkpoint does not fit this run ({error}). Start it again from the beginning."
            ) from error
        self._step = state.step
        for _ in range(self._step):
            next(self._batches)

    def events(self) -> Iterator[Event]:
        """Train, yielding what happens; RunError naming the step and the term when a term is not finite.

        What `evaluate()` returns is yielded as it is; the student is then in eval mode, and when the iterator ends.
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
                yield self._look()
                mark = self._evaluation_took(mark)
            began, before = mark, self._seconds
            yield Phase("training", f"{self._steps} steps" + (f", on from step {self._step}" if self._step else ""))
            while self._step < self._steps and (why := self._stopping.reason(self._step, self._seconds)) is None:
                start = time.perf_counter()
                examples, values = yield from self._advance()
                now = time.perf_counter()
                self._seconds = before + now - began
                self._remaining.step(now - mark)  # with what was done between the steps
                mark = now
                taken = usage.look() | self._left() if usage.due() else {}
                yield Measured(self._step, values | self._pace(examples, now - start) | taken)
                if self._due():
                    yield self._look()
                    mark = self._evaluation_took(mark)
            if self._step < self._steps:
                if self._evaluated < self._step:
                    yield self._look()
                yield Ended(str(why))
        finally:
            self._student.eval()
            if self._teacher is not None:
                self._teacher.save()

    def _advance(self) -> Generator[Event, None, tuple[int, dict[str, float]]]:
        """Take the next step and return the examples in it and its numbers."""
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

    def _left(self) -> dict[str, float]:
        """Return the seconds until the last step, most likely and as 10th and 90th percentile, as far as known."""
        evaluations = -(-self._steps // self._every) - (self._step - 1) // self._every  # one after this step, too
        found = self._remaining.forecast(self._steps - self._step, evaluations)
        if found is None:
            return {}
        if self._stopping.seconds is not None:
            found = found.within(max(0.0, self._stopping.seconds - self._seconds) + self._remaining.longest)
        return {
            metric_names.SECONDS_LEFT: found.likely,
            metric_names.SECONDS_LEFT_LOW: found.low,
            metric_names.SECONDS_LEFT_HIGH: found.high,
        }

    def _evaluation_took(self, mark: float) -> float:
        """Take note of an evaluation and the saving after it, which began at `mark`; return the time it is now."""
        now = time.perf_counter()
        self._remaining.evaluation(now - mark)
        return now

    def _due(self) -> bool:
        return self._evaluated < self._step and (self._step % self._every == 0 or self._step == self._steps)

    def _look(self) -> Measured:
        """Evaluate; what the teacher has computed up to here is kept first, as it is part of going on from here."""
        if self._teacher is not None and self._step:
            self._teacher.save()
        self._student.eval()
        found = Measured(self._step, dict(self._evaluate()))
        self._evaluated = self._step
        self._stopping.see(self._step, found.values)
        return found


@dataclass(frozen=True)
class TrainingLoss:
    """The loss of a run on its training set: the terms of any batch; `steps`: of the whole run."""

    student: PreTrainedModel
    train: TrainingSet
    teacher: TeacherCache | None
    loss: Loss | None
    steps: int
    mixed: bool = False

    def terms(self, step: int, rows: Sequence[int], size: int) -> Iterator[Terms]:
        """Yield each term with its weight for a batch, `size` examples at a time; those of all parts add up."""
        batches = [self._batch(chosen) for chosen in split_rows(rows, size)]
        if self.teacher is None or self.loss is None:
            for batch in batches:
                raw = label_loss(self._forward(*batch).logits, batch[1])
                yield {"ce": (len(batch[1]) / len(rows) * raw, 1.0)}
            return
        known = [
            self.teacher.batch(chosen, *batch) for chosen, batch in zip(split_rows(rows, size), batches, strict=True)
        ]
        counts = self.loss.counts([targets for _, targets in known])
        for index, (batch, (logits, targets)) in enumerate(zip(batches, known, strict=True)):
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

    `size`: how many examples are computed at once.
    """

    def __init__(self, student: PreTrainedModel, learning_rate: float, steps: int, size: int) -> None:
        self._size = size
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)
        self._look, self._most = 1, 0
        self._schedule = get_linear_schedule_with_warmup(self._optimizer, int(WARMUP * steps), steps)

    def numbers(self) -> dict[str, Any]:
        """Return the plain numbers that the next step depends on."""
        rate, schedule = self._optimizer.param_groups[0]["lr"], self._schedule.state_dict()
        return {"size": self._size, "look": self._look, "most": self._most, "rate": rate, "schedule": schedule}

    def tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's moments, each as `moment/PARAMETER/NAME`, parameters counted from 0."""
        moments = self._optimizer.state_dict()["state"]
        return {f"moment/{at}/{name}": value for at, of in moments.items() for name, value in of.items()}

    def set(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take over what `numbers` and `tensors` returned; ValueError where the parameters are others."""
        self._size, self._look, self._most = (int(numbers[name]) for name in ("size", "look", "most"))
        moments: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            kind, _, rest = path.partition("/")
            if kind == "moment":
                number, _, name = rest.partition("/")
                moments.setdefault(int(number), {})[name] = tensor
        for at, found in moments.items():
            if any(tensor.ndim and tensor.shape != self._parameters[at].shape for tensor in found.values()):
                raise ValueError(f"parameter {at} has another shape")
        groups = self._optimizer.state_dict()["param_groups"]
        groups[0]["lr"] = float(numbers["rate"])
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._schedule.load_state_dict(dict(numbers["schedule"]))

    def halve(self, step: int, examples: int) -> str:
        """Compute half as many of a batch's examples at once from now on and say so; RunError where that is one."""
        before = min(self._size, examples)
        self._size = halve(before)
        return f"Step {step}: {before} examples at once are too many for memory, from here on {self._size} are."

    def gradients(self, step: int, training_loss: TrainingLoss, rows: Sequence[int]) -> dict[str, float]:
        """Take the gradient of the weighted sum of the terms and return its numbers; RunError if one is not finite."""
        self._optimizer.zero_grad(set_to_none=True)
        values: dict[str, float] = {}
        shares: dict[str, float] = {}
        for terms in training_loss.terms(step, rows, self._size):
            for name, (raw, _) in terms.items():
                _check_finite(step, f"{name} term", raw)
            if not values:
                shares = self._shares(step, terms)
            loss = torch.stack([raw * weight for raw, weight in terms.values() if weight]).sum()  # 0: not even rounding
            loss.backward()
            _add(values, metric_names.LOSS, loss.item())
            for name, (raw, weight) in terms.items():
                _add(values, name, raw.item())
                _add(values, metric_names.WEIGHTED + name, raw.item() * weight)
        if shares:
            self._look = step + SHARES_EVERY
        return values | shares

    def step(self, step: int) -> dict[str, float]:
        """Step down the gradient and return its norm and the learning rate; RunError if it is not finite."""
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        _check_finite(step, "gradient norm", norm)
        rate = self._optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._schedule.step()
        return {metric_names.GRADIENT_NORM: norm.item(), metric_names.LEARNING_RATE: rate}

    def _shares(self, step: int, terms: Terms) -> dict[str, float]:
        """Return each weighted term's gradient norm as a share of the sum of all, now and then; nothing if all are 0.

        Of a batch in parts, the first part's.
        """
        self._most = max(self._most, len(terms))  # at the first step all are there
        if step < self._look or len(terms) < self._most or self._most == 1:
            return {}
        norms = {}
        for name, (raw, weight) in terms.items():
            found = torch.autograd.grad(raw * weight, self._parameters, retain_graph=True, allow_unused=True)
            norms[metric_names.SHARE + name] = math.hypot(*(float(g.norm()) for g in found if g is not None))
        whole = sum(norms.values())
        return {name: norm / whole for name, norm in norms.items()} if whole > 0 else {}


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
    """Run the student on a batch, keeping the graph from E on (and before E, where embeddings are trained)."""
    embeddings = embed(student, inputs)
    if not embeddings.requires_grad:
        embeddings.requires_grad_()
    return forward_pass(student, embeddings, inputs, labels, mask_id, mixed, needs)


def _endless_batches(train: TrainingSet, batch_size: int, order: torch.Generator) -> Iterator[list[int]]:
    lengths = [len(row.ids) for row in train.rows]
    while True:
        yield from length_batches(lengths, batch_size, order)
