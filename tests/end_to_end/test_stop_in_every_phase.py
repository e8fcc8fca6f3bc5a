"""Stop, whatever a worker is doing: shown at once, its process group gone in time, its last checkpoint usable.

The workers are real ones that hang in a phase and hear nothing, each with a child of its own.
"""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from distill_core.models.encoder import load_model
from distill_core.runs import lifecycle
from distill_core.runs.scheduler import can_resume, enqueue, reconcile, resume, stop, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker
from distill_core.training.state import TrainingState
from tests.support.injected_worker import child_of_hanging, injected_command
from tests.support.processes import OPENING, gone, start_worker
from tests.support.small_run import small_run
from tests.support.small_worker import training, worker_command
from tests.support.tiny import tiny_folder
from tests.support.waiting import PROMISE, until

# What is done before the run so that it hangs in a phase; where it then has a checkpoint, the phase is the second of
# its kind.
SECOND = """
calls, real = [], {name}
def second(*given, **named):
    calls.append(1)
    return hang() if len(calls) > 1 else real(*given, **named)
{name} = second
"""
FAULTS = {
    "loading": "session.open_model = lambda *_: hang()",
    "teacher": """
real = teacher_cache.teacher_pass
def slow(*inputs, needs_graph, **options):
    return hang() if needs_graph else real(*inputs, needs_graph=needs_graph, **options)
teacher_cache.teacher_pass = slow
""",
    "training": SECOND.format(name="trainer.student_pass"),
    "evaluating": SECOND.format(name="agreement_probe.Probe.measure"),
    "saving": SECOND.format(name="encoder.replace_folder"),
}
WITHOUT_CHECKPOINT = ("loading",)


@pytest.mark.slow
@pytest.mark.parametrize("phase", FAULTS)
def test_a_deaf_worker_is_stopped_in_every_phase(
    store: Store, tmp_path: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if phase != "training":  # one phase with the deadlines as they are
        monkeypatch.setattr(lifecycle, "TERM_AFTER", 1.0)
        monkeypatch.setattr(lifecycle, "KILL_AFTER", 1.5)
    config = small_run(tiny_folder(tmp_path / "teacher"), steps=20, evaluate_every=3, method="ad_kd")
    run_id = enqueue(store, config)
    reconcile(store, injected_command(tmp_path, FAULTS[phase]))
    assert until(child_of_hanging().exists, 120), store.log_tail(run_id)
    run, child = store.get(run_id), int(child_of_hanging().read_text())
    assert (run.state, gone(child)) == ("running", False)

    began = time.monotonic()
    assert stop(store, run_id).status == "stopping"
    ended = wait(store, run_id, PROMISE)
    assert until(lambda: gone(run.pid or 0) and gone(child), PROMISE + began - time.monotonic()), ended
    assert (ended.state, ended.status) == ("stopped", "stopped")
    assert "Stopped by force at step" in ended.reason
    assert find_worker(ended) is None

    if phase in WITHOUT_CHECKPOINT:
        assert ended.model_path is None
        assert "no checkpoint yet" in ended.reason
        return
    assert ended.model_path is not None
    assert "last checkpoint is kept" in ended.reason
    assert load_model(ended.model_path).network.config.num_hidden_layers == 1
    assert TrainingState.read(ended.model_path).step <= ended.step
    folder = ended.model_path.parent
    assert until(lambda: [path.name for path in folder.glob("student*")] == ["student"])  # no half of a newer one
    assert can_resume(ended)
    if phase == "saving":
        resume(store, run_id)
        reconcile(store)
        assert wait(store, run_id, 120).state == "finished", store.log_tail(run_id)
        assert [point.step for point in store.metrics(run_id, names=["loss"])] == list(range(1, 21))


# raw workers: what they are sent, and in which order -------------------------------------------

# notes all it is told, and never ends by itself
NOTING = """
said = (home() / "said").open("a", buffering=1)
signal.signal(signal.SIGTERM, lambda *_: said.write("TERM\\n"))
asked = False
while (run := store.write(run_id, token, [(7, "loss", 1.0)], None)) is not None:
    if run.stop_requested is not None and not asked:
        asked = True
        said.write("asked\\n")
    time.sleep(0.1)
"""


def raw_command(folder: Path, code: str) -> tuple[str, str]:
    script = folder / "raw.py"
    script.write_text(OPENING + code)
    return (sys.executable, str(script))


def test_a_worker_is_first_asked_then_sent_term_then_kill(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "TERM_AFTER", 2.0)
    monkeypatch.setattr(lifecycle, "KILL_AFTER", 3.0)
    run = start_worker(store, raw_command(tmp_path, NOTING))
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE)
    assert ended.state == "stopped"
    assert gone(run.pid or 0)
    said = (store.path.parent / "said").read_text().split()
    assert said[:2] == ["asked", "TERM"]
    assert set(said) == {"asked", "TERM"}


# stands still as a debugger would make it, in the middle of writing to the store
FROZEN = """
with store.writing():
    os.kill(os.getpid(), signal.SIGSTOP)
while (run := store.write(run_id, token, [], None)) is not None and run.stop_requested is None:
    time.sleep(0.05)
store.end(run_id, token, "stopped", "as asked")
"""


def frozen(pid: int | None) -> bool:
    return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED


def test_a_frozen_process_is_woken_and_ends_with_a_checkpoint(store: Store, tmp_path: Path) -> None:
    run = training(store, worker_command(tmp_path, "plain"), evaluate_every=2)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGSTOP)
    assert until(lambda: frozen(run.pid))
    assert stop(store, run.id).status in ("stopping", "stopped")  # awake, it may be that quick
    ended = wait(store, run.id, PROMISE)
    assert until(lambda: gone(run.pid or 0))
    assert ended.state == "stopped"
    assert "on request" in ended.reason
    assert ended.model_path is not None


def test_a_frozen_process_that_holds_the_store_is_stopped_in_time(store: Store, tmp_path: Path) -> None:
    run_id = enqueue(store, small_run(tiny_folder(tmp_path / "teacher")))
    reconcile(store, raw_command(tmp_path, FROZEN))
    assert until(lambda: frozen(store.get(run_id).pid))
    began = time.monotonic()
    stop(store, run_id)
    ended = wait(store, run_id, PROMISE + began - time.monotonic())
    assert (ended.state, ended.reason) == ("stopped", "as asked")
