"""The latency of an explanation: integrated gradients of one sentence through a teacher and two students, then again.

    python -m benchmarks.explain_latency [--tokens 25] [--repeats 5] [--threads 2]

The models are already open, as in the running app. Each repeat explains another sentence of `tokens` tokens (special
tokens included) with an empty cache, then once more from the cache; opening a model is then an error.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import torch
import typer
from rich.console import Console
from rich.table import Table

from distill_core.data.datasets import load_split
from distill_core.explanation.cache import ExplanationCache
from distill_core.explanation.explain import explain
from distill_core.explanation.lazy_model import LazyModel, as_lazy_model
from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import Explanation
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import encode


def texts_of(model: LoadedModel, tokens: int, count: int, glue: str) -> list[str]:
    """Return texts of exactly `tokens` tokens: sentences of the data set, concatenated and cut."""
    words = " ".join(example.text for example in load_split("sst2", "validation", glue).examples).split()
    texts: list[str] = []
    at = 0
    while len(texts) < count and at < len(words):
        size = tokens
        while size and len(encode(model.tokenizer, " ".join(words[at : at + size])).ids) > tokens:
            size -= 1
        text = " ".join(words[at : at + size])
        if len(encode(model.tokenizer, text).ids) == tokens:
            texts.append(text)
        at += size
    return texts


def timed(text: str, models: Sequence[LazyModel], baseline: str, cache: ExplanationCache) -> tuple[float, Explanation]:
    """Explain a text; return the seconds it took and the explanation."""
    began = time.perf_counter()
    teacher, *students = (model.id for model in models)
    request = ExplanationRequest(task="sst2", text=text, teacher=teacher, students=tuple(students), baseline=baseline)
    explanation = explain(request, {model.id: model for model in models}.__getitem__, cache=cache)
    return time.perf_counter() - began, explanation


def refuse() -> NoReturn:
    """Raise instead of opening a model."""
    raise AssertionError("the cached explanation opened a model")


def main(
    glue: Annotated[str, typer.Option(help="GLUE folder, or bundled for the sample")] = "bundled",
    teacher: Annotated[str, typer.Option(help="model id or folder")] = "bundled/sst2-teacher",
    student: Annotated[list[str] | None, typer.Option(help="model id or folder, repeated; the bundled ones")] = None,
    tokens: Annotated[int, typer.Option(help="tokens a sentence")] = 25,
    repeats: Annotated[int, typer.Option(help="sentences")] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 2,
) -> None:
    """Measure and print the first and the cached explanation for each baseline."""
    torch.set_num_threads(threads)
    ids = [teacher, *(student or ["bundled/sst2-kd", "bundled/sst2-ad-kd"])]
    opened = [as_lazy_model(open_model(model)) for model in ids]
    closed = [LazyModel(source.id, source.fingerprint, refuse) for source in opened]
    texts = texts_of(opened[0].load(), tokens, repeats + 1, glue)
    rows = []
    table = Table("baseline", "first time, s: median", "maximum", "cached, s", "nodes", "maximum gap", "converged")
    for baseline in ("zero", "pad", "mask"):
        with tempfile.TemporaryDirectory() as folder:
            cache = ExplanationCache(Path(folder) / "cache.sqlite")
            timed(texts[0], opened, baseline, cache)  # warm up
            firsts = [timed(text, opened, baseline, cache) for text in texts[1:]]
            seconds = [timed(text, closed, baseline, cache)[0] for text in texts[1:]]
        maps = [one for _, found in firsts for model in found.models for one in model.attributions]
        median = statistics.median(took for took, _ in firsts)
        converged = sum(one.converged is True for one in maps)
        what = f"integrated gradients to ≤ 1 % gap, {len(ids)} models, {tokens} tokens, {baseline} baseline"
        rows.append(f"| {what}: first time, cached (no model is run) | {median:.2f} s, {max(seconds):.3f} s |")
        table.add_row(
            baseline,
            f"{median:.2f}",
            f"{max(took for took, _ in firsts):.2f}",
            f"{max(seconds):.3f}",
            f"{statistics.mean(one.nodes or 0 for one in maps):.0f}",
            f"{100 * max(one.relative_gap or 0.0 for one in maps):.2f} %",
            f"{converged} of {len(maps)}",
        )
    Console().print(f"{', '.join(ids)}: {tokens} tokens, {len(texts) - 1} sentences, {threads} threads", table)
    print(*rows, sep="\n")


if __name__ == "__main__":
    typer.run(main)
