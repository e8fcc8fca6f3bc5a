"""Other Python processes on the same store, and workers of a few lines."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from distill_core.config.run_config import RunConfig
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile
from distill_core.runs.store import Store
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
# The beginning of a worker script of a few lines.
OPENING = """
import os, signal, subprocess, sys, time
from pathlib import Path
from distill_core.paths import home
from distill_core.runs.store import Store
store, run_id, token = Store(), sys.argv[1], os.environ["DISTILL_RUN_TOKEN"]
"""
# A server that starts a run and is killed in the middle of the run and of a write to the store.
SERVER = """
import os, signal, time
from distill_core.config.run_config import RunConfig
from distill_core.runs.scheduler import reconcile, enqueue
from distill_core.runs.store import Store
store = Store()
run_id = enqueue(store, RunConfig(steps=100_000, evaluate_every=5, device="cpu"))
while store.get(run_id).step < 20:
    reconcile(store, {command!r})
    time.sleep(0.05)
with store.writing() as connection:
    connection.execute("UPDATE runs SET reason = 'half of a write'")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def gone(pid: int) -> bool:
    """Return whether a process has exited, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def start_worker(store: Store, command: Sequence[str]) -> Run:
    """Submit a run, start it, and return it after the first heartbeat of its worker."""
    run_id = enqueue(store, RunConfig(device="cpu"))
    began = store.get(run_id).created
    assert reconcile(store, command) == [run_id]
    assert until(lambda: (store.get(run_id).heartbeat or 0) > (store.get(run_id).started or began))
    return store.get(run_id)


def start_python(code: str) -> subprocess.Popen[str]:
    """Start another Python process on the same store."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
