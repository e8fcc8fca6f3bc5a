"""The store: guarded states, cursors, batches, many processes at once, and files that are not as they should be."""

import math
import sqlite3
import time
from pathlib import Path

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, RunError, StoreError
from distill_core.paths import run_folder
from distill_core.runs.events import Measured, Note, Phase
from distill_core.runs.log import LOG_NAME
from distill_core.runs.recorder import Recorder
from distill_core.runs.store import Store
from tests.support.processes import start_python
from tests.support.stored_runs import TOKEN, claimed_run, on_cpu

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    return Store()


# states ----------------------------------------------------------------------------------------


def test_a_run_goes_from_queued_through_running_to_its_end(store: Store) -> None:
    store.add("one", RunConfig(steps=3, name="first"))
    queued = store.get("one")
    assert (queued.state, queued.config.steps, queued.title, queued.device) == ("queued", 3, "first", None)
    claimed = store.claim(on_cpu, TOKEN)
    assert claimed is not None
    assert (claimed.state, claimed.device, claimed.token, claimed.active) == ("running", "cpu", TOKEN, True)
    assert store.end("one", TOKEN, "finished")
    ended = store.get("one")
    assert ended.state == "finished"
    assert not ended.active
    assert ended.created <= (ended.started or 0) <= (ended.ended or 0)


def test_a_lost_run_ended_when_it_was_last_heard_of(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.time()
    run_id = claimed_run(store)
    for later, do in (
        (600.0, lambda: store.write(run_id, TOKEN, [(1, "loss", 1.0)], None)),
        (3 * 86_400.0, lambda: store.end(run_id, TOKEN, "lost")),
    ):
        monkeypatch.setattr(time, "time", lambda now=began + later: now)
        assert do()
    lost = store.get(run_id)
    assert lost.ended == began + 600.0
    assert lost.worked_seconds(time.time()) == pytest.approx(600.0, abs=60.0)
    store.requeue(run_id)
    assert store.get(run_id).seconds_before == pytest.approx(600.0, abs=60.0)


def test_an_ended_run_is_changed_by_nothing(store: Store) -> None:
    for state in ("finished", "failed", "stopped", "lost"):
        run_id = claimed_run(store, state)
        assert store.end(run_id, TOKEN, state, "because")
        before = store.get(run_id)
        assert not store.end(run_id, TOKEN, "finished")
        assert not store.cancel(run_id)
        assert not store.request_stop(run_id, "stop")
        assert not store.attach(run_id, TOKEN, 1, 0.0)
        assert not store.set_model(run_id, TOKEN, Path("x"))
        assert store.write(run_id, TOKEN, [(1, "loss", 1.0)], Phase("training")) is None
        assert store.get(run_id) == before
        assert store.metrics(run_id) == []
    assert store.claim(on_cpu, "other") is None


def test_a_queued_run_can_be_cancelled_but_not_ended_or_written(store: Store) -> None:
    store.add("one", RunConfig())
    assert not store.end("one", TOKEN, "finished")
    assert not store.request_stop("one", "stop")
    assert store.write("one", TOKEN, [(1, "loss", 1.0)], None) is None
    assert store.cancel("one")
    assert store.get("one").state == "stopped"


def test_a_worker_with_another_token_writes_nothing(store: Store) -> None:
    run_id = claimed_run(store)
    assert store.write(run_id, "older token", [(1, "loss", 1.0)], None) is None
    assert not store.end(run_id, "older token", "failed")
    assert store.get(run_id).state == "running"
    assert store.metrics(run_id) == []


def test_a_requested_stop_shows_at_once_and_is_noted_once(store: Store) -> None:
    run_id = claimed_run(store)
    assert store.get(run_id).status == "running"
    assert store.request_stop(run_id, "stop")
    assert store.get(run_id).status == "stopping"
    assert not store.request_stop(run_id, "stop")
    seen = store.write(run_id, TOKEN, [], None)
    assert seen is not None
    assert seen.stop_requested is not None


def test_one_run_a_device_in_order_of_submission(store: Store) -> None:
    for run_id in ("a", "b", "c"):
        store.add(run_id, RunConfig())
    store.add("gpu", RunConfig(device="cuda"))
    own = {"auto": ("cpu",), "cuda": ("cuda",)}.__getitem__
    assert [run and run.id for run in (store.claim(own, TOKEN) for _ in range(3))] == ["a", "gpu", None]
    assert store.claim(own, TOKEN, only="c") is None
    store.end("a", TOKEN, "failed", "so the queue goes on")
    assert store.claim(own, TOKEN, only="c") is None  # b is before it
    claimed = store.claim(own, TOKEN)
    assert claimed is not None
    assert claimed.id == "b"


def test_runs_for_any_gpu_share_them_out_and_a_named_one_is_kept_to(store: Store) -> None:
    def two(name: str) -> tuple[str, ...]:
        return {"cuda": ("cuda:0", "cuda:1"), "cuda:0": ("cuda:0",)}[name]

    for run_id, device in (("a", "cuda"), ("named", "cuda:0"), ("b", "cuda"), ("c", "cuda")):
        store.add(run_id, RunConfig(device=device))
    assert store.claim(two, TOKEN, only="c") is None  # a and b are before it
    claimed = [store.claim(two, TOKEN) for _ in range(3)]
    assert [run and (run.id, run.device) for run in claimed] == [("a", "cuda:0"), ("b", "cuda:1"), None]
    store.end("b", TOKEN, "finished", "")
    after = store.claim(two, TOKEN)
    assert after is not None
    assert (after.id, after.device) == ("c", "cuda:1")
    store.end("a", TOKEN, "finished", "")
    named = store.claim(two, TOKEN)
    assert named is not None
    assert (named.id, named.device) == ("named", "cuda:0")


def test_the_only_gpu_is_the_first_of_several(store: Store) -> None:
    for run_id, device in (("a", "cuda"), ("b", "cuda:0"), ("c", "cuda")):
        store.add(run_id, RunConfig(device=device))
    assert store.claim(lambda _: ("cuda",), TOKEN, only="a") is not None
    seen = store.claim(lambda name: {"cuda": ("cuda:0", "cuda:1"), "cuda:0": ("cuda:0",)}[name], TOKEN)
    assert seen is not None  # by a process that sees another card
    assert (seen.id, seen.device) == ("c", "cuda:1")


def test_a_run_for_a_device_that_is_gone_fails_and_lets_the_next_pass(store: Store) -> None:
    def refuse_cuda(name: str) -> tuple[str, ...]:
        if name == "cuda":
            raise ConfigError("no cuda here")
        return ("cpu",)

    store.add("gpu", RunConfig(device="cuda"))
    store.add("next", RunConfig())
    claimed = store.claim(refuse_cuda, TOKEN)
    assert claimed is not None
    assert claimed.id == "next"
    assert (store.get("gpu").state, store.get("gpu").reason) == ("failed", "no cuda here")


def test_an_id_is_given_once_and_an_unknown_one_names_the_latest(store: Store) -> None:
    assert store.add("one", RunConfig())
    assert not store.add("one", RunConfig(steps=9))
    assert store.get("one").config.steps == RunConfig().steps
    with pytest.raises(RunError, match="'two'; the latest runs: one"):
        store.get("two")


def test_runs_come_newest_first_by_state(store: Store) -> None:
    for run_id in ("a", "b", "c"):
        store.add(run_id, RunConfig())
    store.cancel("b")
    assert [run.id for run in store.runs()] == ["c", "b", "a"]
    assert [run.id for run in store.runs(("queued",))] == ["c", "a"]
    assert [run.id for run in store.runs(limit=1)] == ["c"]


# metrics ---------------------------------------------------------------------------------------


def test_reading_by_cursor_gives_only_what_is_new(store: Store) -> None:
    run_id = claimed_run(store)
    store.write(run_id, TOKEN, [(1, "loss", 0.5), (1, "ce", 0.25)], None)
    first = store.metrics(run_id)
    assert [(point.step, point.name, point.value) for point in first] == [(1, "loss", 0.5), (1, "ce", 0.25)]
    assert store.metrics(run_id, after=first[-1].cursor) == []
    store.write(run_id, TOKEN, [(2, "loss", 0.4)], None)
    assert [point.step for point in store.metrics(run_id, after=first[-1].cursor)] == [2]
    assert [point.step for point in store.metrics(run_id, names=["loss"])] == [1, 2]
    assert store.latest(run_id) == {"ce": 0.25, "loss": 0.4}
    assert store.get(run_id).step == 2


def test_undefined_and_infinite_values_come_back_as_they_went(store: Store) -> None:
    run_id = claimed_run(store)
    store.write(run_id, TOKEN, [(1, "a", math.nan), (1, "b", math.inf)], None)
    values = store.latest(run_id)
    assert math.isnan(values["a"])
    assert values["b"] == math.inf


def test_points_are_written_in_batches_and_phases_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = claimed_run(store)
    recorder = Recorder(store, run_id, TOKEN)
    writes: list[int] = []
    write = store.write

    def counting(run_id: str, token: str, points: list[tuple[int, str, float]], *rest: object) -> object:
        writes.append(len(points))
        return write(run_id, token, points, *rest)

    monkeypatch.setattr(store, "write", counting)
    for step in range(500):
        recorder.record(Measured(step, {"loss": 1.0, "ce": 2.0}))
    assert len(writes) < 50
    recorder.record(Phase("evaluating", "validation"))
    assert len(store.metrics(run_id)) == 1000
    assert (store.get(run_id).phase, store.get(run_id).phase_detail) == ("evaluating", "validation")
    recorder.record(Measured(500, {"loss": 0.5}))
    recorder.record(Note("a line"))
    assert store.latest(run_id)["loss"] == 0.5
    assert store.get(run_id).phase == "evaluating"


def test_points_that_could_not_be_written_are_written_next_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = claimed_run(store)
    recorder = Recorder(store, run_id, TOKEN)

    def full(*_: object) -> None:
        raise StoreError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", full)
        with pytest.raises(StoreError):
            recorder.record(Measured(1, {"loss": 1.0}))
        with pytest.raises(StoreError):
            recorder.record(Phase("training"))
    recorder.flush()
    assert store.latest(run_id) == {"loss": 1.0}
    assert store.get(run_id).phase == "training"


def test_a_store_that_is_busy_ends_no_training(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.0)
    recorder = Recorder(store, claimed_run(store), TOKEN)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recorder.record(Measured(1, {"loss": 1.0}))
    recorder.record(Phase("evaluating"))
    with pytest.raises(StoreError, match="in use by another process"):
        recorder.flush()  # what has to be in the store before a checkpoint is
    other.close()
    recorder.record(Measured(2, {"loss": 0.5}))
    recorder.flush()
    assert [(point.step, point.value) for point in store.metrics("one")] == [(1, 1.0), (2, 0.5)]
    assert store.get("one").phase == "evaluating"


def test_every_flush_is_a_heartbeat(store: Store) -> None:
    run_id = claimed_run(store)
    before = store.get(run_id).heartbeat
    Recorder(store, run_id, TOKEN).flush()
    after = store.get(run_id).heartbeat
    assert before is not None
    assert after is not None
    assert after > before


# log -------------------------------------------------------------------------------------------


def test_words_are_found_in_the_whole_log_whatever_its_lines(store: Store) -> None:
    path = run_folder(claimed_run(store)) / LOG_NAME
    path.parent.mkdir(parents=True)
    assert store.search_log("one", "x", 5) == []
    long = b"y" * 200_000
    path.write_bytes(b"The FIRST \xff\n" + (long + b"\n") * 30 + b"10%\r100% first\n" + b"none\n" * 50_000)
    assert store.search_log("one", "first", 5) == ["The FIRST \ufffd", "100% first"]
    assert store.search_log("one", "none", 3) == ["none"] * 3
    with pytest.raises(RunError, match="Unknown run"):
        store.search_log("another", "x", 5)


def test_the_tail_of_the_log(store: Store) -> None:
    run_id = claimed_run(store)
    assert store.log_tail(run_id) == []
    run_folder(run_id).mkdir(parents=True)
    path = run_folder(run_id) / LOG_NAME
    path.write_bytes(b"first\n" * 200_000 + b" 10%\r 50%\r100%\n\xff broken\nlast\n")
    assert store.log_tail(run_id, 3) == ["100%", "\ufffd broken", "last"]


def test_a_log_outside_the_runs_cannot_be_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).write_text("secret")
    with pytest.raises(RunError):
        store.log_tail("..")


# many processes --------------------------------------------------------------------------------


def test_eight_readers_and_a_writer_lose_nothing_and_never_find_it_locked(store: Store) -> None:
    run_id = claimed_run(store)
    writing = f"""
from distill_core.runs.store import Store
store = Store()
for step in range(1, 401):
    assert store.write("{run_id}", "{TOKEN}", [(step, "loss", step / 2), (step, "ce", 1.0)], None) is not None
"""
    reading = f"""
import time
from distill_core.runs.store import Store
store, cursor, seen = Store(), 0, []
deadline = time.monotonic() + 60
while len(seen) < 800 and time.monotonic() < deadline:
    points = store.metrics("{run_id}", after=cursor)
    cursor = points[-1].cursor if points else cursor
    seen += [(point.step, point.name) for point in points]
    store.runs(limit=5), store.get("{run_id}")
assert seen == [(step, name) for step in range(1, 401) for name in ("loss", "ce")], len(seen)
"""
    processes = [start_python(reading) for _ in range(8)] + [start_python(writing)]
    errors = [process.communicate(timeout=90)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 9, "\n".join(errors)


def test_many_processes_may_begin_the_store_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path))
    code = """
from distill_core.config.run_config import RunConfig
from distill_core.runs.store import Store
import os
Store().add(str(os.getpid()), RunConfig())
"""
    processes = [start_python(code) for _ in range(5)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, "\n".join(errors)
    assert {run.id for run in Store().runs()} == {str(process.pid) for process in processes}


# files that are not as they should be ----------------------------------------------------------


def test_a_folder_that_cannot_be_made_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match="set DISTILL_HOME"):
        Store()


def test_a_folder_of_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b?mode=ro#c%20é"
    monkeypatch.setenv("DISTILL_HOME", str(folder))
    assert Store().add("one", RunConfig())
    assert (folder / "runs.sqlite").is_file()


def test_a_locked_store_says_that_it_was_in_use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="in use by another process"):
        store.add("one", RunConfig())
    assert store.runs() == []  # reading goes on
    other.close()


def test_reading_runs_needs_no_torch() -> None:
    code = "import sys, distill_core.runs.scheduler, distill_core.worker; sys.exit('torch' in sys.modules)"
    assert start_python(code).wait(timeout=60) == 0


def test_settings_are_parsed_once_however_often_and_many_runs_are_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(300):
        assert store.add(f"run {at}", RunConfig(seed=1_000_000 + at))
    parsed = []
    from_json = RunConfig.from_json
    monkeypatch.setattr(RunConfig, "from_json", lambda text: parsed.append(text) or from_json(text))
    for _ in range(3):
        assert len(store.runs()) == 300
        store.claim(lambda _: (), TOKEN)
    assert len(parsed) == 300


@pytest.mark.parametrize(
    ("name", "rerun"),
    [("", ""), ("first", "first (2)"), ("first (2)", "first (3)"), ("(2)", "(2) (2)"), ("x" * 200, "x" * 196 + " (2)")],
)
def test_a_rerun_has_a_numbered_name(store: Store, name: str, rerun: str) -> None:
    assert store.add("one", RunConfig(name=name, seed=7))
    assert store.get("one").rerun_config == RunConfig(name=rerun, seed=7)
