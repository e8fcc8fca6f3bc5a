"""Two checkouts measured in turn, for what a user waits for: the ratio of after to before.

    python -m benchmarks.before_after --before FOLDER --after FOLDER [--rounds 5] [--only import --only step]

Each round measures both checkouts; the next round swaps their order, so that a slow minute of the machine affects both.
A checkout's code runs in separate processes, through its command line, because names differ between versions.
Needs chromium and requirements-dev.txt.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from benchmarks.app_start import start

IMPORT = """
import sys, time
began = time.perf_counter()
import distill_core.cli
print(time.perf_counter() - began)
assert "torch" not in sys.modules
"""
EPOCH = 10  # steps of the first epoch, in which the teacher's outputs are computed
TRAIN = ("--method", "ad_kd", "--source", "bundled", "--device", "cpu", "--train-examples", str(32 * EPOCH))


def python(checkout: Path, home: Path, *arguments: str) -> str:
    """Run Python with a checkout's code and return what it prints; exit with its messages where it fails."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "DISTILL_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def import_seconds(checkout: Path, home: Path) -> dict[str, float]:
    """Return the seconds that the packages without torch take to import, the fastest of five processes."""
    return {"import of the light packages, s": min(float(python(checkout, home, "-c", IMPORT)) for _ in range(5))}


def step_seconds(checkout: Path, home: Path) -> dict[str, float]:
    """Return the seconds of an AD-KD step with stored teacher outputs: the median of two epochs of a run."""
    steps = ("--steps", str(3 * EPOCH), "--evaluate-every", str(3 * EPOCH))
    python(checkout, home, "-m", "distill_core", "distill", *TRAIN, *steps)
    run = json.loads(python(checkout, home, "-m", "distill_core", "runs", "list", "--json"))[0]["run"]
    points = json.loads(python(checkout, home, "-m", "distill_core", "runs", "show", run, "--json"))["metrics"]
    seconds = [point["value"] for point in points if point["name"] == "step_seconds" and point["step"] > EPOCH]
    return {"AD-KD step, teacher outputs stored, s": median(seconds)}


def start_seconds(checkout: Path, _: Path) -> dict[str, float]:
    """Return the seconds from `streamlit run` to the first maps, with a new home folder and with the same one again."""
    with tempfile.TemporaryDirectory() as home:
        first = start(Path(home), checkout)
        return {"start to first maps, new home, s": first, "start to first maps, later, s": start(Path(home), checkout)}


def tick_milliseconds(checkout: Path, home: Path) -> dict[str, float]:
    """Return the processor milliseconds of a live update, as the checkout's `benchmarks.live_tick` prints them."""
    printed = python(checkout, home, "-m", "benchmarks.live_tick", "--seconds", "40")
    found = re.search(r"processor\D*([\d.]+) ms", printed)
    if found is None:
        raise SystemExit(f"{checkout}: benchmarks.live_tick printed no milliseconds of the processor:\n{printed}")
    return {"live update at step 10,000, processor ms": float(found[1])}


MEASURES: dict[str, Callable[[Path, Path], dict[str, float]]] = {
    "import": import_seconds,
    "step": step_seconds,
    "start": start_seconds,
    "tick": tick_milliseconds,
}


def main(
    before: Annotated[Path, typer.Option(help="checkout of the earlier version", exists=True, file_okay=False)],
    after: Annotated[Path, typer.Option(help="checkout of the later version", exists=True, file_okay=False)],
    rounds: Annotated[int, typer.Option(min=1, help="how often each is measured")] = 5,
    only: Annotated[list[str] | None, typer.Option(help=f"of {', '.join(MEASURES)}; all if left out")] = None,
) -> None:
    """Measure both checkouts in turn and print the ratios."""
    if unknown := set(only or ()) - set(MEASURES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(MEASURES)}.")
    print("| what | before, median | after, median | after / before: min, median, max |\n|---|---|---|---|")
    for name in only or MEASURES:
        for row in compare(MEASURES[name], before.resolve(), after.resolve(), rounds):
            print(row, flush=True)


def compare(measure: Callable[[Path, Path], dict[str, float]], before: Path, after: Path, rounds: int) -> list[str]:
    """Return a table row for each number of a measure: medians, and minimum, median and maximum of the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        homes = {before: Path(folder) / "before", after: Path(folder) / "after"}
        results: dict[Path, list[dict[str, float]]] = {before: [], after: []}
        for at in range(rounds):
            for checkout in (before, after) if at % 2 == 0 else (after, before):
                results[checkout].append(measure(checkout, homes[checkout]))
                print(f"round {at + 1}, {homes[checkout].name}: {results[checkout][-1]}", file=sys.stderr, flush=True)
    rows = []
    for what in results[before][0]:
        old, new = ([one[what] for one in results[checkout]] for checkout in (before, after))
        ratios = [late / early for early, late in zip(old, new, strict=True)]
        spread = f"{min(ratios):.2f}, {median(ratios):.2f}, {max(ratios):.2f}"
        rows.append(f"| {what} | {median(old):.3g} | {median(new):.3g} | {spread} |")
    return rows


if __name__ == "__main__":
    typer.run(main)
