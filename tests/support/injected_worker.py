"""Worker processes that do a real run with one fault put into them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from distill_core.paths import home

SCRIPT = """
import subprocess, sys, time
from distill_core import worker
from distill_core.runs import worker_process
from distill_core.paths import home

def hang():
    '''Do nothing any more, deaf to every request and to SIGTERM, with a child that is so, too.'''
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (home() / "child.part").write_text(str(child.pid))
    (home() / "child.part").rename(home() / "child")
    time.sleep(300)

def open_session(config, checkpoint):
    import torch
    from distill_core.models import encoder
    from distill_core.training import agreement_probe, session, teacher_cache, trainer
    {fault}
    return session.prepare(config, checkpoint)

worker._open_session = open_session
worker_process.WORKER = (sys.executable, __file__)  # what the next run is started with
if __name__ == "__main__":
    sys.exit(worker.main(sys.argv[1:]))
"""


def injected_command(folder: Path, fault: str) -> Sequence[str]:
    """Return the command of a real worker in which the statements `fault` are carried out before the run begins."""
    script = folder / "injected.py"
    script.write_text(SCRIPT.replace("{fault}", fault.strip().replace("\n", "\n    ")))
    return (sys.executable, str(script))


def child_of_hanging() -> Path:
    """Return the file that is there once the worker hangs; it holds the pid of the worker's child."""
    return home() / "child"
