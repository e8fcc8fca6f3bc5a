"""Worker processes whose session is a few lines, for tests of what is around it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distill_core.config.run_config import RunConfig
from distill_core.paths import run_folder
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile
from distill_core.runs.store import Store
from tests.support.waiting import until

# A session that does `config.steps` steps, evaluates every `evaluate_every`, and saves a text file as its student.
SESSION = """
import json, os, shutil, sys, time
from distill_core import worker
from distill_core.runs import scheduler, worker_process
from distill_core.errors import RunError
from distill_core.runs.events import Measured, Note, Phase
from distill_core.paths import STATE_FILE

class Session:
    best = 0

    def __init__(self, config, checkpoint):
        self.config = config
        self.begin = json.loads((checkpoint / "student.json").read_text())["step"] if checkpoint else 0

    def events(self):
        yield Phase("training", f"{self.config.steps} steps on {self.config.device}")
        for step in range(self.begin + 1, self.config.steps + 1):
            yield from self.between(step)
            yield Measured(step, {"loss": 1 / step, "ce": 0.5})
            if step % self.config.evaluate_every == 0:
                yield Measured(step, {"validation/accuracy": 0.75})

    def between(self, step):
        yield Note(f"in step {step}")
        time.sleep(0.02)

    def save(self, path, record):
        path.mkdir(exist_ok=True)
        (path / "student.json").write_text(json.dumps(record))
        (path / STATE_FILE).touch()
"""
ENDING = """
worker._open_session = Session
worker_process.WORKER = (sys.executable, __file__)  # what the next run is started with
if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:]))
"""
VARIANTS = {
    "plain": "",
    # hangs in step 3, deaf to everything but the end of its process
    "hanging": """
    def between(self, step):
        yield Note(f"in step {step}")
        if step == 3:
            time.sleep(300)
""",
    # saves its student on request, and then hangs in the release of the session
    "hanging at its end": """
    def events(self):
        try:
            for step in range(1, self.config.steps + 1):
                time.sleep(0.02)
                yield Measured(step, {"loss": 1 / step})
        finally:
            time.sleep(300)
""",
    # cannot write its end for as long as it lives
    "busy at its end": """
from distill_core.runs.database import BusyError
from distill_core.runs.store import Store

def busy(*_):
    time.sleep(0.1)
    raise BusyError("The run store was in use.")

Store.end = busy
""",
    # cannot tell the store of its student for as long as it lives
    "busy once it saved": """
from distill_core.runs.database import BusyError
from distill_core.runs.store import Store

def busy(*_):
    time.sleep(0.1)
    raise BusyError("The run store was in use.")

Store.set_model = busy
""",
    "not finite": """
    def between(self, step):
        yield Note("so far so good")
        if step == 3:
            raise RunError("Step 3: the term ad_kd is not finite (nan).")
""",
    # fails in step 3 if its run is called so; every device is there
    "bad if called so": """
    def between(self, step):
        yield Note(f"in step {step}")
        time.sleep(0.02)
        if step == 3 and self.config.name == "bad":
            raise RunError("Step 3: as its name says.")

scheduler.devices_for = lambda name: (name,)
""",
    "filling by checkpoints": """
    def save(self, path, record):
        part = path.with_name("student.part")
        part.mkdir(exist_ok=True)
        (part / STATE_FILE).touch()
        (part / "weights").write_bytes(bytes(100_000 * record["step"]))
        (part / "student.json").write_text(json.dumps(record))
        if path.exists():
            path.rename(path.with_name("student.old"))
        part.rename(path)
        shutil.rmtree(path.with_name("student.old"), ignore_errors=True)
""",
    "filling by log": """
    def between(self, step):
        print("x" * 20_000)
        yield Note(f"in step {step}")
""",
    "filling by numbers": """
    def between(self, step):
        for name in range(200):
            yield Measured(step, {f"number/{name}": 1 / step})
""",
    "talking": """
    def between(self, step):
        print("x" * 1_000_000)
        yield Note("said a lot")
""",
}


def worker_command(folder: Path, variant: str) -> Sequence[str]:
    """Return the command of a worker process with a session of a kind, written into a folder."""
    return script_command(folder / f"{variant.replace(' ', '_')}.py", SESSION + VARIANTS[variant] + ENDING)


def script_command(script: Path, code: str) -> Sequence[str]:
    """Return the command of a script, written the first time only: a process that starts may be reading it."""
    if not script.exists():
        script.write_text(code)
    return (sys.executable, str(script))


def training(store: Store, command: Sequence[str], step: int = 3, **settings: Any) -> Run:
    """Start a run in a worker process and return it once it is past a step."""
    run_id = enqueue(store, RunConfig.from_values({"steps": 100_000, "device": "cpu", **settings}))
    reconcile(store, command)
    assert until(lambda: store.get(run_id).step >= step), store.log_tail(run_id)
    return store.get(run_id)


def saved_step(run: Run) -> int:
    assert run.model_path == run_folder(run.id) / "student"
    return int(json.loads((run.model_path / "student.json").read_text())["step"])
