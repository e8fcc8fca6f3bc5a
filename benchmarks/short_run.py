"""The default short run as the Distill page starts it: the seconds to its first point and to its end.

python -m benchmarks.short_run [--steps 200] [--method ad_kd]
"""

import os
import tempfile
import time
from typing import Annotated

import typer

from distill_core.config.run_config import RunConfig
from distill_core.runs import scheduler
from distill_core.runs.store import Store


def main(
    steps: Annotated[int, typer.Option(help="steps of the run")] = RunConfig().steps,
    method: Annotated[str, typer.Option(help="kd or ad_kd")] = RunConfig().method,
) -> None:
    """Submit the run to a new store and poll it as a page does."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DISTILL_HOME"] = folder
        store, began, first = Store(), time.perf_counter(), None
        run_id = scheduler.enqueue(store, RunConfig(method=method, steps=steps, source="bundled", device="cpu"))
        scheduler.reconcile(store)
        while store.get(run_id).active:
            if first is None and store.metrics(run_id, names=["loss"]):
                first = time.perf_counter() - began
            time.sleep(0.2)
            scheduler.reconcile(store)
        total, run, latest = time.perf_counter() - began, store.get(run_id), store.latest(run_id)
        if first is None or run.state != "finished":
            raise SystemExit(f"the run ended as {run.state}: {run.reason}")
    print(f"| short run ({method}, {steps} steps, bundled sample): first point, end | {first:.1f} s, {total:.0f} s |")
    print({name: round(value, 4) for name, value in sorted(latest.items()) if "/" in name})


if __name__ == "__main__":
    typer.run(main)
