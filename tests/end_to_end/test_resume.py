"""Pause, stop, crash and go on: with a session of a few lines, with real sessions, and with real worker processes."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distill_core import worker
from distill_core.catalog.deletion import free_run
from distill_core.cli.foreground import run_in_foreground
from distill_core.config.run_config import RunConfig
from distill_core.errors import RunError
from distill_core.models.encoder import save_model
from distill_core.paths import STATE_FILE, home, run_folder
from distill_core.runs import worker_process
from distill_core.runs.events import Event, Measured
from distill_core.runs.lifecycle import INTERRUPTED, RunState
from distill_core.runs.scheduler import can_resume, enqueue, reconcile, resume, stop, wait
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import LAST, RECORD
from distill_core.training.session import Session, prepare
from tests.support.small_run import MACHINE_METRICS, small_run
from tests.support.small_worker import saved_step, training, worker_command
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.tiny import tiny_folder, tiny_network, tiny_tokenizer
from tests.support.waiting import PROMISE, until

Scripts = Callable[[str], Sequence[str]]


@pytest.fixture
def command(tmp_path: Path) -> Scripts:
    """Return what gives the command of a worker process with a session of a kind."""
    return partial(worker_command, tmp_path)


# in the store ----------------------------------------------------------------------------------


def claimed(store: Store, run_id: str) -> None:
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=run_id) is not None


@pytest.mark.parametrize("state", INTERRUPTED)
def test_an_interrupted_run_goes_back_to_the_end_of_the_queue(store: Store, state: RunState) -> None:
    first, second = (enqueue(store, RunConfig(device="cpu")) for _ in range(2))
    claimed(store, first)
    store.request_stop(first, "pause")
    store.write(first, FAKE_TOKEN, [(3, "loss", 1.0)], None)
    store.end(first, FAKE_TOKEN, state, "because")
    took = store.get(first).worked_seconds(0.0)
    again = resume(store, first)
    assert (again.state, again.reason, again.token, again.stop_kind, again.stop_requested) == (
        "queued",
        "",
        None,
        None,
        None,
    )
    assert (again.started, again.ended, again.worked_seconds(0.0)) == (None, None, took)
    assert [run.id for run in sorted(store.runs(("queued",)), key=lambda run: run.position)] == [second, first]
    assert store.latest(first) == {"loss": 1.0}
    with pytest.raises(RunError, match="it is queued"):
        resume(store, first)


def test_a_finished_run_or_one_without_a_training_state_does_not_go_on(store: Store, tmp_path: Path) -> None:
    first, second = (enqueue(store, RunConfig(device="cpu")) for _ in range(2))
    for run_id, state in ((first, "finished"), (second, "stopped")):
        claimed(store, run_id)
        store.set_model(run_id, FAKE_TOKEN, tmp_path)
        store.end(run_id, FAKE_TOKEN, "finished" if state == "finished" else "stopped")
    with pytest.raises(RunError, match="it is finished"):
        resume(store, first)
    with pytest.raises(RunError, match="no training state"):
        resume(store, second)
    (tmp_path / STATE_FILE).touch()
    assert can_resume(store.get(second))


def with_checkpoint(store: Store) -> str:
    """Return a paused run with a number and a checkpoint to go on from."""
    run_id = enqueue(store, RunConfig(device="cpu"))
    claimed(store, run_id)
    student = run_folder(run_id) / LAST
    student.mkdir(parents=True)
    (student / STATE_FILE).touch()
    store.set_model(run_id, FAKE_TOKEN, student)
    store.write(run_id, FAKE_TOKEN, [(3, "loss", 1.0)], None)
    store.end(run_id, FAKE_TOKEN, "paused")
    return run_id


def test_a_run_that_is_freed_just_before_it_is_queued_does_not_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, requeue = with_checkpoint(store), Store.requeue

    def late(self: Store, *given: Any) -> bool:
        free_run(self, run_id)
        return requeue(self, *given)

    monkeypatch.setattr(Store, "requeue", late)
    with pytest.raises(RunError, match="cannot be resumed: its checkpoint has no training state"):
        resume(store, run_id)
    assert store.get(run_id).state == "paused"


def test_a_run_whose_checkpoint_is_gone_fails_and_keeps_its_numbers(store: Store) -> None:
    run_id = with_checkpoint(store)
    resume(store, run_id)
    (run_folder(run_id) / LAST / STATE_FILE).unlink()
    run = run_in_foreground(store, run_id, lambda _: None)
    assert run.state == "failed"
    assert f"{STATE_FILE} is gone" in run.reason
    assert store.latest(run_id) == {"loss": 1.0}


def test_a_run_that_goes_on_finds_the_checkpoint_its_killed_worker_had_set_aside(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, found = with_checkpoint(store), []
    resume(store, run_id)
    (run_folder(run_id) / LAST).rename(run_folder(run_id) / f"{LAST}.7.old")

    def opened(_: RunConfig, checkpoint: Path | None) -> worker.RunSession:
        found.append(checkpoint)
        raise RunError("seen enough")

    monkeypatch.setattr(worker, "_open_session", opened)
    run_in_foreground(store, run_id, lambda _: None)
    assert found == [run_folder(run_id) / LAST]


def test_what_was_measured_after_a_step_is_forgotten_by_its_worker_alone(store: Store) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    claimed(store, run_id)
    store.write(run_id, FAKE_TOKEN, [(step, "loss", float(step)) for step in range(5)], None)
    assert not store.rewind(run_id, "another", 1)
    assert store.rewind(run_id, FAKE_TOKEN, 2)
    assert [point.step for point in store.metrics(run_id)] == [0, 1, 2]
    assert store.get(run_id).step == 2
    assert store.rewind(run_id, FAKE_TOKEN, None)
    assert store.metrics(run_id) == []


def test_runs_that_wait_change_places_and_start_in_that_order(store: Store) -> None:
    ids = [enqueue(store, RunConfig(device="cpu")) for _ in range(3)]
    assert store.reorder(ids[2], earlier=True)
    assert store.reorder(ids[0], earlier=False)
    assert not store.reorder(ids[1], earlier=False)
    assert not store.reorder(ids[2], earlier=True)
    assert not store.reorder("nobody", earlier=True)
    started = []
    while (run := store.claim(lambda _: ("cpu",), FAKE_TOKEN)) is not None:
        started.append(run.id)
        store.end(run.id, FAKE_TOKEN, "finished")
    assert started == [ids[2], ids[0], ids[1]]


def test_a_stop_may_follow_a_pause_but_not_the_other_way(store: Store) -> None:
    run_id = enqueue(store, RunConfig(device="cpu"))
    claimed(store, run_id)
    assert store.request_stop(run_id, "pause")
    asked = store.get(run_id)
    assert (asked.status, asked.interrupted_as) == ("pausing", "paused")
    assert not store.request_stop(run_id, "pause")
    assert store.request_stop(run_id, "stop")
    assert store.get(run_id).status == "stopping"
    assert store.get(run_id).stop_requested == asked.stop_requested
    assert not store.request_stop(run_id, "pause")


def test_a_run_that_waits_is_paused_at_once(store: Store) -> None:
    run = stop(store, enqueue(store, RunConfig(device="cpu")), "pause")
    assert (run.state, run.reason) == ("paused", "Paused while it was queued.")
    assert resume(store, run.id).state == "queued"


# a worker process with a session of a few lines ------------------------------------------------


def test_a_paused_run_gives_its_device_to_the_next_and_goes_on_where_it_was(store: Store, command: Scripts) -> None:
    run = training(store, command("plain"))
    following = enqueue(store, RunConfig(steps=3, device="cpu"))
    assert stop(store, run.id, "pause").status == "pausing"
    paused = wait(store, run.id, PROMISE, command("plain"))
    assert (paused.state, paused.step) == ("paused", saved_step(paused))
    assert "on request at step" in paused.reason
    assert wait(store, following, 30, command("plain")).state == "finished"
    resume(store, run.id)
    reconcile(store, command("plain"))
    assert until(lambda: store.get(run.id).step > paused.step + 3)
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE)
    assert ended.state == "stopped"
    losses = [point.step for point in store.metrics(run.id, names=["loss"])]
    assert losses == list(range(1, ended.step + 1))


def test_a_killed_run_forgets_what_came_after_its_checkpoint_and_goes_on(store: Store, command: Scripts) -> None:
    run = training(store, command("plain"), step=8, evaluate_every=5)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    assert wait(store, run.id, PROMISE).state == "lost"
    resume(store, run.id)
    reconcile(store, command("plain"))
    assert until(lambda: store.get(run.id).step > 20)
    stop(store, run.id)
    ended = wait(store, run.id, PROMISE)
    losses = [point.step for point in store.metrics(run.id, names=["loss"])]
    assert losses == list(range(1, ended.step + 1))


# real sessions ---------------------------------------------------------------------------------


def drive(session: Session, folder: Path, until_step: int | None = None) -> list[tuple[int, dict[str, float]]]:
    """Run a session to its end or to a step, save it as a worker does, and return what it measured."""
    told: list[tuple[int, dict[str, float]]] = []
    data: list[Event] = []
    events = session.events()
    for event in events:
        if isinstance(event, Measured):
            told.append(
                (event.step, {name: value for name, value in event.values.items() if name not in MACHINE_METRICS})
            )
            if "loss" in event.values and event.step == until_step:
                break
        data.append(event)
    step = told[-1][0]
    used = [{"split": d.split, "fingerprint": d.fingerprint} for d in data if hasattr(d, "fingerprint")]
    session.save(folder, {"task": session.config.task, "step": step, "data": used})
    events.close()
    return told


@pytest.mark.parametrize(
    ("student", "method"),
    [("first", "gkd_cls"), ("random", "ad_kd"), ("a model", "egkd_perturbation"), ("first", "minilm")],
)
def test_a_session_goes_on_to_the_very_weights(tmp_path: Path, student: str, method: str) -> None:
    config = replace(small_run(tiny_folder(tmp_path / "teacher", layers=2), steps=7, method=method, student_layers=2))
    if student == "a model":
        save_model(tiny_network(seed=9), tiny_tokenizer(), tmp_path / "start", {"task": "sst2"})
        config = replace(config, student_init=str(tmp_path / "start"))
    elif student == "random":
        config = replace(config, student_init="random")
    whole = drive(prepare(config), tmp_path / "whole")
    shutil.rmtree(home() / "teacher")
    parts = drive(prepare(config), tmp_path / "part", until_step=2)
    parts += drive(prepare(config, tmp_path / "part"), tmp_path / "part", until_step=6)  # before an evaluation
    parts += drive(prepare(config, tmp_path / "part"), tmp_path / "part")
    assert parts == whole
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "part")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def finishes_whole(store: Store, run_id: str) -> None:
    """Do a run and check that it has all its numbers, each once, and only what its `keep`, the best, says."""
    assert run_in_foreground(store, run_id, lambda _: None).state == "finished"
    steps = {name: [p.step for p in store.metrics(run_id, names=[name])] for name in ("loss", "validation/accuracy")}
    assert steps == {"loss": [1, 2, 3, 4], "validation/accuracy": [0, 2, 4]}
    assert [path.name for path in run_folder(run_id).iterdir() if path.is_dir()] == [LAST]
    assert not (run_folder(run_id) / LAST / STATE_FILE).exists()


@pytest.mark.parametrize("told", ["loss", "validation/accuracy"])
def test_a_stop_at_the_very_end_costs_nothing(store: Store, tmp_path: Path, told: str) -> None:
    """In the last step: the rest is its evaluation. With that done there is nothing to stop."""
    config = small_run(tiny_folder(tmp_path / "teacher"), steps=4, evaluate_every=2, keep="best")

    def ask(event: Event) -> None:
        if isinstance(event, Measured) and event.step == 4 and told in event.values:
            signal.raise_signal(signal.SIGTERM)

    run = run_in_foreground(store, enqueue(store, config), ask)
    assert (run.state, can_resume(run)) == (("stopped", True) if told == "loss" else ("finished", False))
    if told == "loss":
        resume(store, run.id)
    finishes_whole(store, run.id)


class Killed(BaseException):
    """The end of a process, as seen from inside."""


def test_a_run_killed_between_its_last_checkpoint_and_its_end_goes_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> bool:
        raise Killed

    run_id = enqueue(store, small_run(tiny_folder(tmp_path / "teacher"), steps=4, evaluate_every=2, keep="best"))
    with monkeypatch.context() as patched:
        patched.setattr(Store, "end", killed)
        with pytest.raises(Killed):
            run_in_foreground(store, run_id, lambda _: None)
    store.end(run_id, str(store.get(run_id).token), "lost")
    resume(store, run_id)
    finishes_whole(store, run_id)


def test_going_on_with_other_data_or_another_teacher_is_refused(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher", layers=2)
    train = tmp_path / "glue" / "SST-2" / "train.tsv"
    train.parent.mkdir(parents=True)
    for file in (train, train.with_name("dev.tsv")):
        file.write_text("sentence\tlabel\n" + "a good film\t1\na bad film\t0\n" * 8)
    content = train.read_text()
    config = small_run(teacher, source=str(tmp_path / "glue"))
    drive(prepare(config), tmp_path / "part", until_step=2)
    train.write_text(content.replace("good", "great"))
    with pytest.raises(RunError, match=r"train examples from .* have changed since"):
        list(prepare(config, tmp_path / "part").events())
    train.write_text(content)
    save_model(tiny_network(seed=5, layers=2), tiny_tokenizer(), teacher, {"task": "sst2"})
    with pytest.raises(RunError, match=r"teacher .* has changed since"):
        list(prepare(config, tmp_path / "part").events())


def test_a_checkpoint_that_is_not_what_was_saved_is_refused(tmp_path: Path) -> None:
    config = small_run(tiny_folder(tmp_path / "teacher", layers=2))
    drive(prepare(config), tmp_path / "part", until_step=2)
    record, state = ((tmp_path / "part" / name) for name in (RECORD, STATE_FILE))
    told, content = json.loads(record.read_text()), state.read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(RunError, match=match):
            list(prepare(config, tmp_path / "part").events())

    wrong = ({"step": "2"}, {"step": -1}, {"best": None}, {"fingerprints": []}, {"data": [3]}, {"data": None})
    for change in wrong:
        record.write_text(json.dumps(told | change))
        refused("which holds its position, is missing or damaged")
    for step in (0, 1):
        record.write_text(json.dumps(told | {"step": step}))
        refused("is damaged: its record is of step")
    record.unlink()
    refused("is missing or damaged")
    record.write_text(json.dumps(told))
    flipped = bytearray(content)
    flipped[-5] ^= 1
    state.write_bytes(flipped)
    refused("its bytes differ from the saved ones")
    state.write_bytes(content)
    assert list(prepare(config, tmp_path / "part").events())


# real workers ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_paused_killed_and_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    store = Store()
    config = small_run(
        tiny_folder(tmp_path / "teacher", layers=2), steps=400, evaluate_every=100, method="ad_kd", max_length=16
    )
    whole, broken = enqueue(store, config), enqueue(store, config)
    assert run_in_foreground(store, whole, lambda _: None).state == "finished"
    step = 0
    for end in (lambda: stop(store, broken, "pause"), lambda: kill(store, broken), lambda: stop(store, broken)):
        assert until(lambda: store.get(broken).step > step + 25, 120)  # noqa: B023 (called at once)
        end()
        ended = wait(store, broken, 60)
        assert ended.state in INTERRUPTED, ended
        step = ended.step
        resume(store, broken)
        reconcile(store)
    assert wait(store, broken, 200).state == "finished"
    first, second = (load_file(Path(str(store.get(run).model_path)) / "model.safetensors") for run in (whole, broken))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    names = ["loss", "ad_kd", "validation/accuracy", "agreement/spearman", "learning_rate"]
    points = [[(p.step, p.name, p.value) for p in store.metrics(run, names=names)] for run in (whole, broken)]
    assert points[0] == points[1]


def kill(store: Store, run_id: str) -> None:
    pid = store.get(run_id).pid
    assert pid is not None
    runner_process = worker_process.find_worker(store.get(run_id))
    assert runner_process is not None
    os.kill(pid, signal.SIGKILL)
