"""Students of runs as folders of tiny models."""

from pathlib import Path

from distill_core.config.run_config import RunConfig
from distill_core.models.encoder import save_model
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs.lifecycle import RunState
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import LAST
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.tiny import tiny_network, tiny_tokenizer


def save_student(name: str = LAST, step: int = 2, best: int = 2, seed: int = 0) -> Path:
    """Save a student and its training state as a worker does."""
    folder = run_folder("one") / name
    network = tiny_network(layers=1, seed=seed)
    network.config.id2label, network.config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    record = {"task": "sst2", "step": step, "best": best, "versions": {"torch": "1.2.3"}, "parameters": 7}
    save_model(network, tiny_tokenizer(), folder, record)
    (folder / STATE_FILE).write_bytes(b"state")
    return folder


def add_run_with_student(store: Store, state: RunState = "finished", **settings: object) -> str:
    """Add a run that ended in a state, with its student as a folder, and return its id."""
    run_id = enqueue(store, RunConfig.from_values({"device": "cpu", **settings}))
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None
    store.write(run_id, FAKE_TOKEN, [(1, "loss", 0.5)], None)
    save_model(tiny_network(), tiny_tokenizer(), run_folder(run_id) / LAST, {"task": "sst2"})
    store.set_model(run_id, FAKE_TOKEN, run_folder(run_id) / LAST)
    store.end(run_id, FAKE_TOKEN, state)
    return run_id
