"""The time of an AD-KD training step: ours and the method as published, on the same examples.

    python -m benchmarks.training_step [--glue FOLDER] [--steps 20] [--threads 2]

As published: every batch is padded to 128 tokens and the teacher runs forward and backward in each step. Ours: batches
of similar length are padded to their longest text and the teacher's outputs are stored. Both train the same parameters
(embeddings frozen) without dropout, so that the losses can be compared. Our first epoch, in which the teacher's outputs
are computed, is timed as well.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.config.run_config import RunConfig
from distill_core.data.datasets import load_split
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, embed, logits_from_embeddings, make_trainable
from distill_core.models.evaluation import gold_labels
from distill_core.models.layers import keep_layers
from distill_core.models.tokenization import Encoded, Inputs, collate, encode_all, length_batches
from distill_core.objectives import make_loss
from distill_core.objectives.kd import label_loss, soft_cross_entropy
from distill_core.training.teacher_cache import TeacherCache
from distill_core.training.trainer import TrainingLoss, TrainingSet

CONFIG = RunConfig(method="ad_kd", alpha=0.8, temperature=2.0, method_weight=1.0)
PUBLISHED_LENGTH = 128
BATCH = 32


def published_loss(student: PreTrainedModel, teacher: PreTrainedModel, inputs: Inputs, labels: Tensor) -> Tensor:
    """Return the loss of one batch as published, including the teacher's passes."""
    maps, logits = [], []
    for network, graph in ((teacher, False), (student, True)):
        x = embed(network, inputs).detach().requires_grad_()
        answer = logits_from_embeddings(network, x, inputs)
        view = torch.nn.functional.cross_entropy(answer, labels)
        (gradient,) = torch.autograd.grad(view, x, create_graph=graph, retain_graph=graph)
        norms = (gradient * x).norm(dim=-1)
        maps.append(norms / norms.norm(dim=1, keepdim=True))
        logits.append(answer)
    wanted, wanted_logits = maps[0].detach(), logits[0].detach()
    term = (wanted - maps[1]).square().sum() / wanted.count_nonzero()
    plain = (1 - CONFIG.alpha) * label_loss(logits[1], labels)
    return (
        plain
        + CONFIG.alpha * soft_cross_entropy(logits[1], wanted_logits, CONFIG.temperature)
        + CONFIG.method_weight * term
    )


def padded(rows: Sequence[Encoded], pad_id: int) -> Inputs:
    """Collate rows and pad them to the published length."""
    inputs = collate(rows, pad_id)
    extra = (0, PUBLISHED_LENGTH - inputs.input_ids.shape[1])
    pad = torch.nn.functional.pad
    types = None if inputs.token_type_ids is None else pad(inputs.token_type_ids, extra)
    return Inputs(
        pad(inputs.input_ids, extra, value=pad_id), pad(inputs.attention_mask, extra), types,
        pad(inputs.special, extra, value=True),
    )  # fmt: skip


def timed(
    student: PreTrainedModel, batches: Sequence[list[int]], loss_of: Callable[[list[int]], Tensor]
) -> list[float]:
    """Return the seconds of each training step over the batches."""
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=5e-5)
    seconds = []
    for rows in batches:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss_of(rows).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return seconds


def fresh_student(teacher: LoadedModel) -> PreTrainedModel:
    """Return a 3-layer student, embeddings frozen, dropout off."""
    return make_trainable(keep_layers(teacher.network, 3)).eval()


def main(
    glue: Annotated[str, typer.Option(help="GLUE folder; the bundled sample if left out")] = "bundled",
    steps: Annotated[int, typer.Option(help="timed steps of each form")] = 20,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    """Time both forms, compare their losses and print the ratio."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        teacher = open_model("bundled/sst2-teacher")
        data = load_split("sst2", "train", glue).sample(BATCH * steps, 0)
        rows, labels = encode_all(teacher.tokenizer, data.examples), torch.tensor(gold_labels(data))
        train, loss = TrainingSet(rows, labels, teacher.pad_id), make_loss(CONFIG, 3, 6)

        def empty_cache() -> TeacherCache:
            found = TeacherCache(teacher, loss.objective, rows, labels)
            found._outputs, found._store._folder = {}, Path(folder) / "numbers"  # not those in DISTILL_HOME
            return found

        caches = [empty_cache()]
        batches = length_batches([len(row.ids) for row in rows], BATCH, torch.Generator().manual_seed(0))
        student = fresh_student(teacher)

        def ours(chosen: list[int]) -> Tensor:
            (terms,) = TrainingLoss(student, train, caches[-1], loss, 1).terms(1, chosen, BATCH)
            return torch.stack([raw * weight for raw, weight in terms.values()]).sum()

        def published(chosen: list[int]) -> Tensor:
            inputs = padded([rows[row] for row in chosen], teacher.pad_id)
            return published_loss(student, teacher.network, inputs, labels[chosen])

        apart = max(abs(ours(b).item() - published(b).item()) for b in batches[:5])
        caches.append(empty_cache())  # empty again: the first epoch is timed, too
        report(data.source, threads, apart, batches, published, ours, teacher, student)


def report(
    source: str, threads: int, apart: float, batches: Sequence[list[int]], published: Callable[[list[int]], Tensor],
    ours: Callable[[list[int]], Tensor], teacher: LoadedModel, student: PreTrainedModel,
) -> None:  # fmt: skip
    """Time each form over the same batches from the same initial weights, and print."""
    start = {name: value.clone() for name, value in student.state_dict().items()}
    first = timed(student, batches, ours)
    student.load_state_dict(start)
    stored = timed(student, batches, ours)
    student.load_state_dict(start)
    slow = timed(student, batches, published)
    print(
        f"AD-KD step, batch {BATCH}, {teacher.id}, 3-layer student, {source}, {threads} threads, {len(batches)} steps"
    )
    print(f"the losses differ by at most {apart:.1e}")
    for name, seconds in (("as published", slow), ("ours, first epoch", first), ("ours, teacher stored", stored)):
        ratio = sum(slow) / sum(seconds)
        print(
            f"{name:22s} {statistics.mean(seconds):.3f} s a step, median {statistics.median(seconds):.3f}  {ratio:.1f}x"
        )
    ratios = f"{sum(slow) / sum(stored):.1f} ×, {sum(slow) / sum(first):.1f} ×; {apart:.0e}"
    what = "AD-KD training step relative to the method as published: teacher outputs stored, first epoch"
    print(f"| {what}; difference of the losses | {ratios} |")


if __name__ == "__main__":
    typer.run(main)
