"""The training loop: minimises L = (1 − α)·CE + α·KD(τ) + w·(method term) and says what it sees.

Knows no file, no database and no clock but its own: it yields events, whoever runs it keeps them, and
ends it early by closing the iterator. A distilled student keeps its teacher's embedding block as it is
(GKD's practice; for AD-KD this is ours), so that E means the same to both.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil
import torch
from jaxtyping import Shaped
from torch import Tensor
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from distill_core.encoding import Encoded, Inputs, collate, length_batches
from distill_core.errors import RunError
from distill_core.events import Event, Measured, Phase
from distill_core.models import embed
from distill_core.objectives import ForwardPass, Loss, Terms, forward_pass
from distill_core.objectives.kd import label_loss
from distill_core.teacher_cache import TeacherCache

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


def distill(
    *,
    student: PreTrainedModel,
    train: TrainingSet,
    teacher: TeacherCache | None,
    loss: Loss | None,
    dropout: bool = True,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    evaluate: Callable[[], Mapping[str, float]],
    evaluate_every: int,
) -> Iterator[Event]:
    """Train `student` in place for `steps` optimizer steps, yielding events as they happen.

    Without `teacher` and `loss` this is plain fine-tuning on the labels. `dropout`: whether the student's is on while
    it trains. `evaluate()` is called before the first step, every `evaluate_every` steps and after the last; what it
    returns is yielded as it is. Which parameters are trained is the caller's to say (`requires_grad`). Same arguments,
    same device: same weights (random numbers come from `seed` alone). Raises RunError naming the step and the term
    when a term is not finite. The student is in eval mode at every yield of an evaluation and when the iterator ends.
    """
    torch.manual_seed(seed)
    if student.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(student.device)
    update = _Update(student, learning_rate, steps)
    batches = _endless_batches(train, batch_size, torch.Generator().manual_seed(seed))
    try:
        yield Phase("evaluating", "before the first step")
        student.eval()
        yield Measured(0, dict(evaluate()))
        yield Phase("training", f"{steps} steps")
        started = time.perf_counter()
        for step in range(1, steps + 1):
            began = time.perf_counter()
            student.train(dropout)
            rows = next(batches)
            values = update(step, _terms(student, train, rows, teacher, loss, (step, steps)))
            now = time.perf_counter()
            values["examples_per_second"] = len(rows) / (now - began)
            values["step_seconds"] = now - began
            values["memory_mb"] = _memory_mb(student)
            values["seconds_left"] = (now - started) / step * (steps - step)  # evaluations counted in
            yield Measured(step, values)
            if step % evaluate_every == 0 or step == steps:
                student.eval()
                yield Measured(step, dict(evaluate()))
                if teacher is not None:
                    teacher.save()
    finally:
        student.eval()
        if teacher is not None:
            teacher.save()


class _Update:
    """One optimizer step: AdamW, gradient clipping, learning rate that warms up and falls linearly to 0."""

    def __init__(self, student: PreTrainedModel, learning_rate: float, steps: int) -> None:
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=learning_rate, weight_decay=WEIGHT_DECAY)
        self._look, self._most = 1, 0
        self._schedule = get_linear_schedule_with_warmup(self._optimizer, math.ceil(WARMUP * steps), steps)

    def __call__(self, step: int, terms: Terms) -> dict[str, float]:
        """Step down the weighted sum of the terms and return its numbers; RunError if one is not finite."""
        for name, (raw, _) in terms.items():
            _check_finite(step, f"{name} term", raw)
        self._most = max(self._most, len(terms))  # at the first step all are there
        shares = {}
        if step >= self._look and len(terms) == self._most > 1:
            shares, self._look = self._shares(terms), step + SHARES_EVERY
        loss = torch.stack([raw * weight for raw, weight in terms.values()]).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, CLIP)
        _check_finite(step, "gradient norm", norm)
        rate = self._optimizer.param_groups[0]["lr"]
        self._optimizer.step()
        self._schedule.step()
        values = {"loss": loss.item(), "gradient_norm": norm.item(), "learning_rate": rate}
        for name, (raw, weight) in terms.items():
            values[name] = raw.item()
            values[f"weighted/{name}"] = raw.item() * weight
        return values | {f"share/{name}": share for name, share in shares.items()}

    def _shares(self, terms: Terms) -> dict[str, float]:
        """Return each weighted term's gradient norm as a share of the sum of all; nothing where all are 0."""
        norms = {}
        for name, (raw, weight) in terms.items():
            found = torch.autograd.grad(raw * weight, self._parameters, retain_graph=True, allow_unused=True)
            norms[name] = math.hypot(*(float(g.norm()) for g in found if g is not None))
        whole = sum(norms.values())
        return {name: norm / whole for name, norm in norms.items()} if whole > 0 else {}


def _check_finite(step: int, name: str, value: Tensor) -> None:
    if not torch.isfinite(value):
        raise RunError(
            f"Step {step}: the {name} is not finite ({value.item()}). "
            "Lower the learning rate or the method weight and start again."
        )


def _terms(
    student: PreTrainedModel,
    train: TrainingSet,
    rows: Sequence[int],
    teacher: TeacherCache | None,
    loss: Loss | None,
    at: tuple[int, int],
) -> Terms:
    """Return each term of the loss for one batch with its weight; `at`: the step, counted from 1, of how many."""
    inputs = collate([train.rows[row] for row in rows], train.pad_id).to(student.device)
    labels = train.labels[list(rows)].to(student.device)
    forward = student_pass(student, inputs, labels, train.mask_id)
    if teacher is None or loss is None:
        return {"ce": (label_loss(forward.logits, labels), 1.0)}
    return loss.terms(forward, *teacher.batch(rows, inputs, labels), *at)


def student_pass(
    student: PreTrainedModel, inputs: Inputs, labels: Shaped[Tensor, " batch"], mask_id: int | None = None
) -> ForwardPass:
    """Run the student on a batch, keeping the graph from E on (and before E, where embeddings are trained)."""
    embeddings = embed(student, inputs)
    if not embeddings.requires_grad:
        embeddings.requires_grad_()
    return forward_pass(student, embeddings, inputs, labels, mask_id)


def _endless_batches(train: TrainingSet, batch_size: int, order: torch.Generator) -> Iterator[list[int]]:
    lengths = [len(row.ids) for row in train.rows]
    while True:
        yield from length_batches(lengths, batch_size, order)


def _memory_mb(student: PreTrainedModel) -> float:
    """Peak memory of the device in MB: CUDA's allocator, else this process' resident size."""
    if student.device.type == "cuda":
        return torch.cuda.max_memory_allocated(student.device) / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6
