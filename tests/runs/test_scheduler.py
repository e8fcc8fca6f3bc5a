"""The queue with real worker processes: one a device, and the truth about those that die or will not stop."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, RunError
from distill_core.paths import run_folder
from distill_core.runs import lifecycle, scheduler, worker_process
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile, stop, wait
from distill_core.runs.store import Store
from distill_core.runs.worker_process import find_worker
from tests.support.processes import OPENING, ROOT, gone, start_worker
from tests.support.small_worker import script_command
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.waiting import PROMISE, until

WORKERS = {
    # works until it is asked to stop
    "obedient": """
while (run := store.write(run_id, token, [], None)) is not None and run.stop_requested is None:
    time.sleep(0.05)
store.end(run_id, token, "stopped", "as asked")
""",
    # ends at once, and leaves word if it ever was not alone
    "quick": """
alone = home() / "alone"
with (home() / "done").open("a") as done:
    try:
        os.close(os.open(alone, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        done.write("two at once\\n")
    time.sleep(0.05)
    done.write(run_id + "\\n")
alone.unlink(missing_ok=True)
store.end(run_id, token, "finished")
""",
    "crashing": "sys.exit(3)",
    # ignores SIGTERM and the store, and has a child that does so too
    "stubborn": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
(home() / "child").write_text(str(child.pid))
while True:
    store.write(run_id, token, [(7, "loss", 1.0)], None)
    time.sleep(0.2)
""",
}
Commands = Callable[[str], Sequence[str]]


@pytest.fixture
def command(tmp_path: Path) -> Commands:
    """Return what gives the command of a fake worker by name."""

    return lambda name: script_command(tmp_path / f"{name}.py", OPENING + WORKERS[name])


# submitting ------------------------------------------------------------------------------------


def test_submitting_twice_makes_two_runs_queued_on_one_device(store: Store, command: Commands) -> None:
    first, second = enqueue(store, RunConfig(device="cpu")), enqueue(store, RunConfig())
    assert first != second
    assert first[:15] <= second[:15]
    assert reconcile(store, command("obedient")) == [first]
    assert reconcile(store, command("obedient")) == []
    assert [store.get(run_id).state for run_id in (first, second)] == ["running", "queued"]
    stop(store, first)
    assert until(lambda: store.get(second).state == "running")  # nobody pumped: the worker's end did


def test_a_device_that_is_not_here_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.devices.usable_devices", lambda: ("cpu",))
    with pytest.raises(ConfigError, match="'cuda' cannot be used on this machine; choose one of: auto, cpu"):
        enqueue(store, RunConfig(device="cuda"))
    assert store.runs() == []


def test_what_another_process_would_read_differently_is_pinned(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUE_DIR", "glue")
    config = store.get(enqueue(store, RunConfig(teacher="my-model", student_init="./my-model"))).config
    assert {config.teacher, config.student_init} == {str(tmp_path / "my-model")}
    assert config.source == str(tmp_path / "glue")
    monkeypatch.delenv("GLUE_DIR")
    config = store.get(enqueue(store, RunConfig())).config
    assert (config.teacher, config.source) == ("bundled/sst2-teacher", "bundled")  # what auto means without a folder
    with monkeypatch.context() as cached:
        cached.setattr("distill_core.data.datasets.hub_cache_folder", lambda _: tmp_path)
        assert store.get(enqueue(store, RunConfig())).config.source == "auto"
    (tmp_path / "first").mkdir()
    for student in ("first", "bundled/sst2-kd", "hub/org/m@1"):
        assert store.get(enqueue(store, RunConfig(student_init=student))).config.student_init == student


# one at a time ---------------------------------------------------------------------------------


def test_two_processes_pumping_start_one_run_at_a_time_and_each_once(store: Store, command: Commands) -> None:
    ids = [enqueue(store, RunConfig(device="cpu")) for _ in range(10)]
    code = f"""
import time
from distill_core.runs.scheduler import reconcile
from distill_core.runs.store import Store
store = Store()
while store.runs(("queued", "running"), limit=1):
    reconcile(store, {tuple(command("quick"))!r})
time.sleep(0.2)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pumping = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=60)[1] for process in pumping]
    assert [process.returncode for process in pumping] == [0, 0], "\n".join(errors)
    assert (store.path.parent / "done").read_text().split("\n")[:-1] == ids
    assert {store.get(run_id).state for run_id in ids} == {"finished"}


def test_several_devices_work_at_the_same_time(
    store: Store, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "devices_for", lambda name: (name,))
    ids = [enqueue(store, RunConfig(device=device)) for device in ("cpu", "cuda", "cpu")]
    assert reconcile(store, command("obedient")) == ids[:2]
    assert [store.get(run_id).device for run_id in ids] == ["cpu", "cuda", None]


# the dead --------------------------------------------------------------------------------------


def test_a_killed_worker_is_lost_with_a_cause_and_the_queue_goes_on(store: Store, command: Commands) -> None:
    run = start_worker(store, command("obedient"))
    following = enqueue(store, RunConfig(device="cpu"))
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: store.get(run.id).state == "lost")
    assert "killed (SIGKILL)" in store.get(run.id).reason
    assert until(lambda: store.get(following).state == "running")


def test_a_crash_is_lost_with_its_exit_code_and_the_queue_goes_on(store: Store, command: Commands) -> None:
    ids = [enqueue(store, RunConfig(device="cpu")) for _ in range(2)]
    reconcile(store, command("crashing"))
    assert until(lambda: store.get(ids[1]).state == "lost")
    assert {store.get(run_id).state for run_id in ids} == {"lost"}
    assert "exit code 3" in store.get(ids[0]).reason


def test_a_worker_outlives_the_killed_server_and_its_death_is_seen_by_the_next(store: Store, command: Commands) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    code = f"""
import os, signal
from distill_core.runs.scheduler import reconcile
from distill_core.runs.store import Store
reconcile(Store(), {tuple(command("obedient"))!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    beat = store.get(run_id).heartbeat or 0.0
    assert until(lambda: (store.get(run_id).heartbeat or 0.0) > beat)
    reconcile(store)
    run = store.get(run_id)
    assert (run.state, find_worker(run) is not None) == ("running", True)
    assert run.pid is not None
    assert os.getsid(run.pid) == run.pid  # a Ctrl-C or hang-up in the server's terminal does not reach it
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: reconcile(store) == [] and store.get(run_id).state == "lost")
    assert "is gone" in store.get(run_id).reason


def test_a_run_whose_starter_died_before_starting_it_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    store.claim(lambda _: ("cpu",), FAKE_TOKEN)
    reconcile(store)
    assert store.get(run_id).state == "running"  # it may be about to
    monkeypatch.setattr(lifecycle, "START_SECONDS", 0.0)
    reconcile(store)
    assert store.get(run_id).state == "lost"
    assert "never started" in store.get(run_id).reason


def test_a_worker_that_cannot_be_started_fails_with_the_reason(store: Store) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    reconcile(store, ("/no/such/python",))
    assert store.get(run_id).state == "failed"
    assert "could not be started" in store.get(run_id).reason


def test_a_checkpoint_set_aside_by_a_killed_save_is_put_back(store: Store, command: Commands) -> None:
    run = start_worker(store, command("obedient"))
    folder = run_folder(run.id)
    for name in (f"student.{run.pid}.old", f"student.{run.pid}.part"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(name)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: [path.name for path in folder.glob("student*")] == ["student"])
    assert (folder / "student" / "config.json").read_text().endswith(".old")


def halves(run_id: str, pid: int) -> list[Path]:
    """Make what a worker has of a checkpoint in the middle of saving it, and return its folders."""
    folders = [run_folder(run_id) / f"student.{pid}.{kind}" for kind in ("old", "part")]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def ended_child() -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return child


def test_what_the_next_worker_saves_is_left_alone_when_the_last_is_seen_off(store: Store) -> None:
    child = ended_child()
    run_id = enqueue(store, RunConfig(device="cpu"))
    store.claim(lambda _: ("cpu",), "the first", only=run_id)
    first = store.get(run_id)
    store.end(run_id, "the first", "paused")
    store.requeue(run_id)
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
    saving = halves(run_id, 4242)
    worker_process.reap(store, run_id, "the first", child, list)
    worker_process.mark_lost(store, first)
    assert all(folder.exists() for folder in saving)
    store.end(run_id, FAKE_TOKEN, "stopped")
    worker_process.reap(store, run_id, FAKE_TOKEN, child, list)
    assert [path.name for path in run_folder(run_id).iterdir()] == ["student"]


def test_a_run_resumed_while_it_is_given_up_keeps_what_its_next_worker_saves(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    store.claim(lambda _: ("cpu",), "the first", only=run_id)
    saving: list[Path] = []

    def meanwhile(_: Run) -> None:
        store.requeue(run_id)
        store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id)
        saving.extend(halves(run_id, 4242))

    monkeypatch.setattr(worker_process, "_kill_leftovers", meanwhile)
    worker_process.mark_lost(store, store.get(run_id))
    assert len(saving) == 2
    assert all(folder.exists() for folder in saving)


def test_a_run_deleted_when_its_worker_ends_does_not_stall_the_queue(store: Store, command: Commands) -> None:
    child, following = ended_child(), enqueue(store, RunConfig(device="cpu"))
    worker_process.reap(store, "deleted", FAKE_TOKEN, child, partial(reconcile, store, command("obedient")))
    assert store.get(following).state == "running"


# stopping --------------------------------------------------------------------------------------


def test_a_queued_run_is_stopped_at_once_and_an_ended_one_stays(store: Store) -> None:
    run_id = enqueue(store, RunConfig())
    assert stop(store, run_id).state == "stopped"
    assert stop(store, run_id).state == "stopped"
    for unknown in ("no such run", "\udcff", "x" * 100_000):
        with pytest.raises(RunError, match="Unknown run"):
            stop(store, unknown)


def test_a_stop_shows_at_once_and_the_worker_ends(store: Store, command: Commands) -> None:
    run = start_worker(store, command("obedient"))
    assert stop(store, run.id).status == "stopping"
    ended = wait(store, run.id, PROMISE)
    assert (ended.state, ended.reason) == ("stopped", "as asked")


def test_a_stubborn_worker_and_its_child_are_gone_within_the_promise(store: Store, command: Commands) -> None:
    run = start_worker(store, command("stubborn"))
    child = store.path.parent / "child"
    assert until(child.exists)
    began = time.monotonic()
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE + 5)
    assert ended.state == "stopped"
    assert "by force at step 7" in ended.reason
    assert run.pid is not None
    assert until(lambda: gone(run.pid or 0) and gone(int(child.read_text())), 1.0)
    assert time.monotonic() - began < PROMISE


def test_what_a_dead_worker_left_behind_is_killed(store: Store, command: Commands) -> None:
    run = start_worker(store, command("stubborn"))
    child = store.path.parent / "child"
    assert until(child.exists)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    assert until(lambda: gone(int(child.read_text())))
