"""The time of a training step of each method relative to plain KD, with stored teacher outputs and in the first epoch.

    python -m benchmarks.method_steps --glue FOLDER [--steps 20] [--threads 2] [--method minilm ...]

SST-2, batches of 32, the bundled teacher, a student of its first 3 layers. The methods run in turn on each batch.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.data.datasets import load_split
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, make_trainable
from distill_core.models.evaluation import gold_labels
from distill_core.models.layers import keep_layers
from distill_core.models.tokenization import encode_all, length_batches
from distill_core.objectives import make_loss
from distill_core.training.teacher_cache import TeacherCache
from distill_core.training.trainer import TrainingLoss, TrainingSet

BATCH = 32


class Timed:
    """One method's student, optimizer and teacher outputs, and the seconds of its steps."""

    def __init__(self, method: str, teacher: LoadedModel, train: TrainingSet, folder: Path) -> None:
        config = RunConfig(method=method, weak_teacher="go_on")
        self.loss = make_loss(config, 3, 6)
        self.train, self.dropout = train, config.uses_dropout
        self.student = make_trainable(keep_layers(teacher.network, 3))
        trained = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=5e-5)
        self.cache = TeacherCache(teacher, self.loss.objective, train.rows, train.labels)
        self.cache._outputs, self.cache._store._folder = {}, folder / method  # not those in DISTILL_HOME
        self.seconds: list[float] = []

    def step(self, rows: list[int]) -> None:
        """Take one optimizer step and record its time."""
        self.student.train(self.dropout)
        began = time.perf_counter()
        (terms,) = TrainingLoss(self.student, self.train, self.cache, self.loss, 1).terms(1, rows, BATCH)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([raw * weight for raw, weight in terms.values()]).sum().backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - began)


def main(
    glue: Annotated[str, typer.Option(help="GLUE folder; the bundled sample if left out")] = "bundled",
    steps: Annotated[int, typer.Option(help="timed steps of each method")] = 20,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
    method: Annotated[
        list[str] | None, typer.Option(help="a method to time beside kd, may be repeated; all if left out")
    ] = None,
) -> None:
    """Time the methods in turn on each batch and print the medians of their ratios to plain KD."""
    if unknown := sorted(set(method or ()) - DISTILLATION_METHODS.keys()):
        raise typer.BadParameter(f"{', '.join(unknown)}: use {', '.join(DISTILLATION_METHODS)}.")
    chosen = [key for key in DISTILLATION_METHODS if not method or key == "kd" or key in method]
    torch.set_num_threads(threads)
    teacher = open_model("bundled/sst2-teacher")
    data = load_split("sst2", "train", glue).sample(BATCH * steps, 0)
    rows, labels = encode_all(teacher.tokenizer, data.examples), torch.tensor(gold_labels(data))
    train = TrainingSet(rows, labels, teacher.pad_id, teacher.mask_id)
    batches = length_batches([len(row.ids) for row in rows], BATCH, torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        timed = {key: Timed(key, teacher, train, Path(folder)) for key in chosen}
        for _ in ("first epoch", "outputs stored"):
            for batch in batches:
                for one in timed.values():
                    one.step(batch)
    count = len(batches)
    print(f"{data.source}, batch {BATCH}, {threads} threads, {count} steps; medians of the ratios to kd, step by step")
    print("| method | seconds a step | × kd | × kd, first epoch |")
    print("|---|---|---|---|")
    for key, one in timed.items():
        ratios = [mine / base for mine, base in zip(one.seconds, timed["kd"].seconds, strict=True)]
        seconds = median(one.seconds[count:])
        print(f"| `{key}` | {seconds:.3f} | {median(ratios[count:]):.2f} | {median(ratios[:count]):.2f} |")


if __name__ == "__main__":
    typer.run(main)
