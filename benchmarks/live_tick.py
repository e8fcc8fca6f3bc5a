"""What a look at a run that trains costs: bytes to the browser and seconds of the server, a tick.

    python -m benchmarks.live_tick [--steps 10000] [--pace 10]    (needs chromium and requirements-dev.txt)

A run of so many steps stands in a store of its own and grows as a worker would let it, `pace` steps a second; the page
is open in Chromium. Counted are the WebSocket's payloads from one timed run of the page's script to the next, and the
wall-clock time that script takes on the server.
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import psutil
import typer
from playwright.sync_api import sync_playwright

from benchmarks.app_start import CHROMIUM_FLAGS, ROOT, free_port, wait_for
from distill_core.config.run_config import RunConfig
from distill_core.runs import scheduler, worker_process
from distill_core.runs.store import Store

TOKEN = f"{worker_process.FOREGROUND}benchmark"
SERVE = """
import sys, time
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.web import cli

work = ScriptRunner._run_script

def timed(self, rerun_data):
    began, busy = time.perf_counter(), time.thread_time()
    work(self, rerun_data)
    kind = "TICK" if rerun_data.fragment_id_queue else "PAGE"
    print(kind, time.perf_counter() - began, time.thread_time() - busy, flush=True)

ScriptRunner._run_script = timed
cli.main(["run", "app.py", *sys.argv[1:]])
"""


def numbers_at(step: int, terms: dict[str, float], evaluated: bool) -> dict[str, float]:
    """Return what a worker measures at a step."""
    decay = 1 / (1 + step / 900)
    raw = {name: decay * (1 + 0.2 * math.sin(step * (at + 1))) for at, name in enumerate(terms)}
    values = raw | {f"weighted/{name}": weight * raw[name] for name, weight in terms.items()}
    values |= {"loss": sum(weight * raw[name] for name, weight in terms.items()), "learning_rate": 5e-5 * decay}
    values |= {"gradient_norm": 3 * decay, "examples_per_second": 80 + 9 * math.sin(step), "step_seconds": 0.1}
    values |= {"memory_mb": 900 + step % 7, "seconds_left": 3600 * decay}
    if step % 10 == 0:
        values |= {f"share/{name}": 1 / len(terms) for name in terms}
    if evaluated:
        names = ("validation/accuracy", "agreement/label_loyalty", "agreement/signed_cosine", "agreement/cosine")
        values |= dict.fromkeys((*names, "agreement/spearman"), 0.9 - 0.4 * decay)
    return values


class Worker:
    """Writes to a run as its worker would."""

    def __init__(self, store: Store, steps: int) -> None:
        """Begin a run that is longer than `steps`, and write so many."""
        self.config = RunConfig(name="live", device="cpu", steps=2 * steps, evaluate_every=200)
        self.store, self.step = store, 0
        self.run_id = scheduler.enqueue(store, self.config)
        store.claim(lambda name: (name,), TOKEN, only=self.run_id)
        process = psutil.Process()
        store.attach(self.run_id, TOKEN, process.pid, worker_process.process_start(process))
        self.train(steps)

    def train(self, steps: int) -> None:
        """Write what the next steps measure."""
        points = [
            (step, name, value)
            for step in range(self.step, self.step + steps)
            for name, value in numbers_at(
                step, dict(self.config.weights), step % self.config.evaluate_every == 0
            ).items()
        ]
        self.step += steps
        self.store.write(self.run_id, TOKEN, points, None)

    def end(self) -> None:
        """Finish the run."""
        self.store.end(self.run_id, TOKEN, "finished")


def watch(worker: Worker, home: Path, pace: int, seconds: float) -> tuple[list[int], list[float], list[float]]:
    """Look at the run while it grows; return of each tick the bytes, the server's seconds, and its processor's."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, "--server.headless=true", f"--server.port={port}"]
    environment = os.environ | {"DISTILL_HOME": str(home)}
    with (home / "server.txt").open("w+", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health")
            received = look(worker, f"http://127.0.0.1:{port}/distill?run={worker.run_id}", pace, seconds)
        finally:
            server.terminate()
            server.wait()
        log.seek(0)
        ticks = [line.split()[1:] for line in log if line.startswith("TICK ")][-len(received) :]
    return received, [float(wall) for wall, _ in ticks], [float(busy) for _, busy in ticks]


def look(worker: Worker, address: str, pace: int, seconds: float) -> list[int]:
    """Open the page, let the run grow under it, and return the bytes of each tick."""
    frames: list[bytes] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(as_bytes(data))))
        page.goto(address)
        page.locator(".st-key-loss_curves canvas").wait_for(timeout=120_000)
        page.wait_for_timeout(5000)
        frames.clear()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            worker.train(max(1, pace // 2))
            page.wait_for_timeout(500)
        browser.close()
    begins = [at for at, frame in enumerate(frames) if kind_of(frame) == "new_session"]
    return [sum(map(len, frames[one:other])) for one, other in pairwise(begins)]


def as_bytes(data: bytes | str) -> bytes:
    """Return a frame's payload as it came."""
    return data if isinstance(data, bytes) else data.encode()


def kind_of(frame: bytes) -> str:
    """Return which message of Streamlit's a frame is."""
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    return str(ForwardMsg.FromString(frame).WhichOneof("type"))


def main(
    steps: Annotated[int, typer.Option(help="steps the run has when the page is opened")] = 10_000,
    pace: Annotated[int, typer.Option(help="steps a second while it is looked at")] = 10,
    seconds: Annotated[float, typer.Option(help="how long it is looked at")] = 60.0,
) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DISTILL_HOME"] = folder
        received, scripts, busy = watch(Worker(Store(), steps), Path(folder), pace, seconds)
    kilobytes = f"{median(received) / 1000:.1f} kB, {quantiles(received, n=20)[-1] / 1000:.1f} kB"
    server = f"{1000 * median(scripts):.0f} ms, {1000 * quantiles(scripts, n=20)[-1]:.0f} ms"
    print(f"(of its processor: {1000 * median(busy):.0f} ms, {1000 * quantiles(busy, n=20)[-1]:.0f} ms)")
    print(f"({len(received)} ticks; the most in one: {max(received)} bytes)")
    print(
        f"| a tick of a run's page at step {steps:,}, {pace} steps a second: to the browser, and of the server (median,"
    )
    print(f" 95th percentile) | {kilobytes}; {server} |")


if __name__ == "__main__":
    typer.run(main)
