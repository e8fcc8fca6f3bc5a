"""Runs in the store without workers: no process, no training."""

from typing import Any

from distill_core.config.run_config import RunConfig
from distill_core.runs import scheduler
from distill_core.runs.events import Event, Measured
from distill_core.runs.recorder import Recorder
from distill_core.runs.run import Run
from distill_core.runs.store import Store

TOKEN = "token"  # of the runs of claimed_run
FAKE_TOKEN = "0123456789abcdef"  # of a run without a worker process


def active_run(store: Store, *events: Event, **settings: Any) -> tuple[Run, Recorder]:
    """Return a run that the store records as running, with these events written."""
    run_id = scheduler.enqueue(store, RunConfig(**{"device": "cpu", **settings}))
    assert store.claim(lambda name: (name,), FAKE_TOKEN, only=run_id) is not None
    recorder = Recorder(store, run_id, FAKE_TOKEN)
    for event in events:
        recorder.record(event)
    recorder.flush()
    return store.get(run_id), recorder


def ended_run(store: Store, **settings: str) -> str:
    """Add a finished run with two measurements and return its id."""
    values = {"validation/accuracy": 0.75, "agreement/signed_cosine": 0.25}
    run, _ = active_run(store, Measured(0, values), Measured(9, values | {"loss": 1.0}), **settings)
    store.end(run.id, FAKE_TOKEN, "finished")
    return run.id


def on_cpu(_: str) -> tuple[str, ...]:
    return ("cpu",)


def claimed_run(store: Store, run_id: str = "one") -> str:
    """Add a run and claim it with TOKEN."""
    assert store.add(run_id, RunConfig())
    claimed = store.claim(on_cpu, TOKEN, only=run_id)
    assert claimed is not None
    return run_id
