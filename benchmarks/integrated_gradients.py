"""Integrated gradients over a data set: the throughput of our adaptive, batched implementation and of a Captum loop.

    python -m benchmarks.integrated_gradients --glue FOLDER [--limit 872] [--baseline pad] [--threads 2]

Captum runs as its documentation shows: one sentence at a time with its defaults (50 Gauss-Legendre nodes). Both run in
turn on the same batches, so that a busy machine slows both. The completeness gaps of both are computed here, from their
scores and two forward passes, relative to the attributed mass.
"""

import time
from dataclasses import dataclass
from typing import Annotated

import torch
import typer
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import LayerIntegratedGradients
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from distill_core.attribution import attribute
from distill_core.attribution.baselines import baseline_embeddings
from distill_core.attribution.integrated_gradients import IntegratedGradients
from distill_core.data.datasets import load_split
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, embed, logits, logits_from_embeddings
from distill_core.models.tokenization import Encoded, Inputs, collate, encode_all

CAPTUM_NODES = 50  # its default


def captum_scores(model: LoadedModel, inputs: Inputs, target: Tensor, baseline: str) -> Tensor:
    """Return Captum's token scores of one sentence, (1, T), with its defaults except for the target class."""
    network, special = model.network, inputs.special
    if baseline == "zero":  # not expressible as token ids: from the embedding block's output
        engine = CaptumIntegratedGradients(
            lambda x, mask: logits_from_embeddings(network, x, Inputs(inputs.input_ids, mask, None, special))
        )
        x = embed(network, inputs)
        found: Tensor = engine.attribute(x, target=target, additional_forward_args=(inputs.attention_mask,))
        return found.sum(dim=-1).detach()
    token = model.tokenizer.pad_token_id if baseline == "pad" else model.tokenizer.mask_token_id
    layer = LayerIntegratedGradients(
        lambda ids, mask, types: logits(network, Inputs(ids, mask, types, special)), network.base_model.embeddings
    )
    found = layer.attribute(
        inputs.input_ids,
        baselines=torch.where(special, inputs.input_ids, token),
        target=target,
        additional_forward_args=(inputs.attention_mask, inputs.token_type_ids),
    )
    return found.sum(dim=-1).detach()


@torch.no_grad()
def differences(model: LoadedModel, inputs: Inputs, target: Tensor, baseline: str) -> Tensor:
    """Return F(x) − F(x') of every sentence."""
    start = baseline_embeddings(model.network, model.tokenizer, inputs, baseline)
    ends = logits(model.network, inputs), logits_from_embeddings(model.network, start, inputs)
    return (ends[0] - ends[1]).gather(1, target[:, None])[:, 0]


def relative_gap(scores: Tensor, difference: Tensor) -> Tensor:
    """Return |Σ scores − (F(x) − F(x'))| / Σ|scores|."""
    return (scores.sum(dim=1) - difference).abs() / scores.abs().sum(dim=1)


@dataclass(frozen=True)
class Measured:
    """One implementation on one batch: its seconds, the relative gaps of its maps, and the nodes used for each."""

    seconds: float
    gaps: Tensor
    nodes: Tensor


def compare(
    model: LoadedModel, rows: list[Encoded], baseline: str, method: IntegratedGradients
) -> tuple[Measured, Measured]:
    """Run our implementation, then the Captum loop, on one batch of sentences."""
    inputs = collate(rows, model.pad_id)
    with torch.no_grad():
        target = logits(model.network, inputs).argmax(dim=1)
    began = time.perf_counter()
    ours = attribute(method, model, inputs, target, baseline=baseline)
    middle = time.perf_counter()
    theirs = [captum_scores(model, collate([row], model.pad_id), target[at], baseline) for at, row in enumerate(rows)]
    ended = time.perf_counter()
    difference = differences(model, inputs, target, baseline)
    gaps = torch.cat([relative_gap(scores, difference[at]) for at, scores in enumerate(theirs)])
    assert ours.nodes is not None
    return (
        Measured(middle - began, relative_gap(ours.scores, difference), ours.nodes),
        Measured(ended - middle, gaps, torch.full_like(target, CAPTUM_NODES)),
    )


def main(
    glue: Annotated[str, typer.Option(help="GLUE folder, or bundled for the sample")] = "bundled",
    teacher: Annotated[str, typer.Option(help="model id or folder")] = "bundled/sst2-teacher",
    limit: Annotated[int, typer.Option(help="how many sentences")] = 872,
    baseline: Annotated[str, typer.Option(help="pad, mask or zero")] = "pad",
    tolerance: Annotated[float, typer.Option(help="largest error relative to the attributed mass")] = 0.05,
    pieces: Annotated[int, typer.Option(help="intervals the path is first divided into")] = 2,
    nodes_per_piece: Annotated[int, typer.Option(help="quadrature nodes of an interval")] = 6,
    batch: Annotated[int, typer.Option(help="sentences a batch")] = 32,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    """Measure and print the comparison."""
    torch.set_num_threads(threads)
    model = open_model(teacher)
    data = load_split("sst2", "validation", glue).sample(limit, 0)
    rows = sorted(encode_all(model.tokenizer, data.examples), key=lambda row: len(row.ids))
    method = IntegratedGradients(tolerance=tolerance, pieces=pieces, nodes_per_piece=nodes_per_piece)
    parts = [rows[at : at + batch] for at in range(0, len(rows), batch)]
    compare(model, rows[:4], baseline, method)  # warm up both
    found = [compare(model, part, baseline, method) for part in track(parts, console=Console(stderr=True))]
    tail = 0.0
    table = Table("implementation", "sentences/s", "nodes, mean", "gap: median", "95th percentile", "maximum")
    seconds = []
    for name, batches in zip(("ours", "Captum"), zip(*found, strict=True), strict=True):
        gaps, nodes = (torch.cat([getattr(one, part) for one in batches]).float() for part in ("gaps", "nodes"))
        seconds.append(sum(one.seconds for one in batches))
        quantiles = [f"{100 * value:.2f} %" for value in (gaps.median(), gaps.quantile(0.95), gaps.max())]
        tail = tail or float(gaps.quantile(0.95))
        table.add_row(name, f"{len(rows) / seconds[-1]:.2f}", f"{nodes.mean():.1f}", *quantiles)
    Console().print(f"{len(rows)} sentences ({data.source}), {baseline} baseline, {threads} threads, {model.id}", table)
    what = f"integrated gradients of {len(rows)} sentences in batches, tolerance {100 * tolerance:g} %"
    ratio = seconds[1] / seconds[0]
    print(f"| {what}: relative to a Captum loop; 95th percentile of the gap | {ratio:.1f} ×; {100 * tail:.1f} % |")


if __name__ == "__main__":
    typer.run(main)
