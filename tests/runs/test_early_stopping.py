"""When a training ends early: no better evaluation for a while, or the time is over; and what the best one was."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_core import worker
from distill_core.catalog.catalog import find_model, list_models
from distill_core.cli import foreground
from distill_core.cli.foreground import run_in_foreground
from distill_core.config.run_config import RunConfig
from distill_core.errors import ModelError
from distill_core.export import run_export
from distill_core.models.encoder import load_model, read_record, save_model
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs import scheduler
from distill_core.runs.early_stopping import Stopping, best_step
from distill_core.runs.events import Ended, Event, Measured
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import (
    BEST,
    KEEP_CHOICES,
    LAST,
    RECORD,
    delete_obsolete_checkpoints,
    repair_checkpoints,
    save_last_as_best,
)
from distill_core.training.session import prepare
from distill_core.training.state import TrainingState
from tests.support.scripted_session import ScriptedSession, done_run
from tests.support.small_run import small_run
from tests.support.tiny import tiny_folder, tiny_network, tiny_tokenizer


def seen(values: list[float], patience: int | None = None) -> Stopping:
    stopping = Stopping("accuracy", patience)
    for at, value in enumerate(values):
        stopping.update(10 * at, {"accuracy": value})
    return stopping


def test_patience_counts_evaluations_since_the_best() -> None:
    stopping = seen([0.9, 0.5, 0.7, 0.7, math.nan], patience=2)  # the first is of the untrained student
    assert (stopping.best, stopping.best_step, stopping.idle) == (0.7, 20, 2)
    assert stopping.reason(40, 0.0) == (
        "Stopped early at step 40: 2 evaluations without a better accuracy; the best was 0.7000 at step 20."
    )
    stopping.update(50, {"accuracy": 0.71})
    assert stopping.reason(50, 1e9) is None
    assert "never defined" in str(seen([0.5, math.nan], patience=1).reason(10, 0.0))


def test_time_ends_a_training_and_without_either_nothing_does() -> None:
    assert Stopping("accuracy", seconds=90.0).reason(7, 89.9) is None
    ended = Stopping("accuracy", seconds=90.0).reason(7, 90.0)
    assert ended == "Ended at step 7: the limit of training time was reached after 1.5 minutes."
    assert seen([0.5] * 1000).reason(10_000, 1e9) is None


@pytest.mark.parametrize("values", [[], [0.5, 0.6, 0.4], [0.5, math.nan]])
def test_it_goes_on_where_it_was(values: list[float]) -> None:
    stopping, again = seen(values, patience=3), Stopping("accuracy", patience=3)
    again.set(json.loads(json.dumps(stopping.numbers())))
    assert again == stopping


def measured_until_the_end(config: RunConfig) -> Iterator[Event]:
    return prepare(config).events()


def test_a_run_ends_after_its_patience_with_its_last_evaluation(tmp_path: Path) -> None:
    given = small_run(
        tiny_folder(tmp_path / "teacher"), steps=60, evaluate_every=2, early_stopping_patience=2, learning_rate=1e-8
    )
    events = list(measured_until_the_end(given))
    assert isinstance(events[-1], Ended)
    assert "Stopped early at step 6: 2 evaluations without a better validation/accuracy" in events[-1].text
    looks = [e.step for e in events if isinstance(e, Measured) and "validation/accuracy" in e.values]
    assert looks == [0, 2, 4, 6]


def test_a_run_whose_time_is_over_is_evaluated_and_ends(tmp_path: Path) -> None:
    given = small_run(tiny_folder(tmp_path / "teacher"), steps=100_000, evaluate_every=100_000, max_minutes=0.01)
    events = list(measured_until_the_end(given))
    assert isinstance(events[-1], Ended)
    last = events[-2]
    assert isinstance(last, Measured)
    assert "validation/accuracy" in last.values
    assert 0 < last.step < 100_000


def test_agreement_can_be_what_is_watched(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    session = prepare(replace(small_run(teacher, monitor="agreement/signed_cosine"), steps=4, evaluate_every=1))
    found = {e.step: e.values["agreement/signed_cosine"] for e in session.events() if is_look(e)}
    del found[0]
    assert session.best == max(found, key=lambda step: found[step])


def is_look(event: Event) -> bool:
    return isinstance(event, Measured) and "agreement/signed_cosine" in event.values


# in the worker -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_keeps_its_best_checkpoint_beside_the_last(tmp_path: Path) -> None:
    store = Store()
    config = small_run(tiny_folder(tmp_path / "teacher"), steps=8, evaluate_every=1, learning_rate=3e-2, seed=1)
    run = run_in_foreground(store, enqueue(store, config), lambda _: None)
    assert run.state == "finished"
    points = {p.step: p.value for p in store.metrics(run.id, names=["validation/accuracy"]) if p.step}
    best = max(points, key=lambda step: points[step])
    assert not (run_folder(run.id) / LAST / STATE_FILE).exists()
    if best == 8:
        assert not (run_folder(run.id) / BEST).exists()
    else:
        assert json.loads((run_folder(run.id) / BEST / "distill.json").read_text())["step"] == best
        found = find_model(f"run/{run.id}/best")
        assert found in list_models()
        assert found.title.endswith(f"best at step {best}")
        load_model(found.path)


def test_the_reason_of_an_early_end_is_the_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ScriptedSession([Measured(1, {"validation/accuracy": 0.5}), Ended("Stopped early at step 1.")])
    run = done_run(store, monkeypatch, session)
    assert (run.state, run.reason) == ("finished", "Stopped early at step 1.")
    assert any("Stopped early" in line for line in store.log_tail(run.id))


def test_the_best_shares_its_files_and_survives_a_kill(tmp_path: Path) -> None:
    last = tmp_path / LAST
    last.mkdir()
    (last / "weights").write_text("first")
    (last / STATE_FILE).touch()
    save_last_as_best(tmp_path)
    assert {file.name for file in (tmp_path / BEST).iterdir()} == {"weights"}
    assert (tmp_path / BEST / "weights").stat().st_ino == (last / "weights").stat().st_ino
    (tmp_path / BEST).rename(tmp_path / f"{BEST}.1.old")  # killed between two renames
    (tmp_path / f"{BEST}.1.part").mkdir()
    repair_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, LAST]


@pytest.mark.parametrize("keep", KEEP_CHOICES)
@pytest.mark.parametrize("last_is_best", [True, False])
def test_what_stays_of_a_finished_runs_students(tmp_path: Path, keep: str, last_is_best: bool) -> None:
    last = tmp_path / LAST
    last.mkdir()
    (last / "weights").write_text("first")
    save_last_as_best(tmp_path)
    (last / "weights").unlink()
    (last / "weights").write_text("second")
    (last / RECORD).write_text(json.dumps({"step": 2, "best": 2 if last_is_best else 1}))
    (last / STATE_FILE).touch()
    if last_is_best:
        save_last_as_best(tmp_path)
    for _ in range(2):  # the worker, and whoever sees it off
        delete_obsolete_checkpoints(tmp_path, keep)
    found = {file.relative_to(tmp_path).as_posix(): file.read_text() for file in tmp_path.glob("*/weights")}
    best = "second" if last_is_best else "first"
    assert found == {
        "best_and_last": {f"{LAST}/weights": "second"} | ({} if last_is_best else {f"{BEST}/weights": best}),
        "last": {f"{LAST}/weights": "second"},
        "best": {f"{LAST}/weights": best},
    }[keep]  # fmt: skip


@pytest.mark.parametrize("record", ["", "[1]", "{}", '{"step": 2}'])
def test_a_damaged_record_makes_no_student_the_best(tmp_path: Path, record: str) -> None:
    (tmp_path / LAST).mkdir()
    save_last_as_best(tmp_path)
    (tmp_path / LAST / RECORD).write_text(record)
    delete_obsolete_checkpoints(tmp_path, "best_and_last")
    assert (tmp_path / BEST).is_dir()


def test_a_worker_killed_after_its_run_was_finished_leaves_no_more_than_it_should(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "clean_run_folder", lambda *_: None)  # killed just before
    monkeypatch.setattr(foreground, "reconcile", lambda *_: None)
    run = done_run(store, monkeypatch, ScriptedSession([Measured(1, {"validation/accuracy": 0.5})]))
    assert (run.state, run.model_path) == ("finished", run_folder(run.id) / LAST)
    (run_folder(run.id) / LAST / STATE_FILE).touch()
    assert scheduler.reconcile(store) == []  # whoever looks next
    assert store.runs_to_clean() == []
    assert sorted(file.name for file in (run_folder(run.id) / LAST).iterdir()) == ["student.json"]


def test_a_run_whose_last_is_gone_keeps_its_best(tmp_path: Path) -> None:
    (tmp_path / BEST).mkdir()
    delete_obsolete_checkpoints(tmp_path, "last")
    assert (tmp_path / BEST).is_dir()


def test_a_worker_killed_between_two_renames_of_the_only_student_leaves_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "clean_run_folder", lambda *_: None)  # killed in the middle of it
    monkeypatch.setattr(foreground, "reconcile", lambda *_: None)
    session = ScriptedSession([Measured(step, {"validation/accuracy": 1 / step}) for step in (1, 2)])
    session.best = 1
    monkeypatch.setattr(worker, "_open_session", lambda *_: session)
    run = run_in_foreground(store, enqueue(store, RunConfig(device="cpu", keep="best")), lambda _: None)
    folder = run_folder(run.id)
    (folder / LAST).rename(folder / f"{LAST}.1.old")
    (folder / BEST / "the best").touch()
    scheduler.reconcile(store)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == [LAST]
    assert (folder / LAST / "the best").exists()


def test_a_run_without_a_best_keeps_its_last(tmp_path: Path) -> None:
    (tmp_path / LAST).mkdir()
    (tmp_path / LAST / "weights").write_text("only")
    delete_obsolete_checkpoints(tmp_path, "best")
    assert (tmp_path / LAST / "weights").read_text() == "only"


@pytest.mark.parametrize(("keep", "folders"), [("best", [LAST]), ("last", [LAST]), ("best_and_last", [BEST, LAST])])
def test_a_finished_run_keeps_what_it_was_told_to_and_no_training_state(
    store: Store, monkeypatch: pytest.MonkeyPatch, keep: str, folders: list[str]
) -> None:
    """Its best evaluation is its first; while it works both students are there."""
    seen = []

    class Saving(ScriptedSession):
        def save(self, path: Path, record: dict[str, object]) -> None:
            state = TrainingState(1, {}, {"a": torch.zeros(1)})
            save_model(
                tiny_network(),
                tiny_tokenizer(),
                path,
                {"at": record["step"], **record},
                state.write if state is not None else None,
            )
            seen.append(sorted(folder.name for folder in path.parent.iterdir() if folder.is_dir()))

    events = [Measured(step, {"validation/accuracy": 1 / step}) for step in (1, 2, 3)]
    session = Saving(events)
    session.best = 1
    monkeypatch.setattr(worker, "_open_session", lambda *_: session)
    run = run_in_foreground(store, enqueue(store, RunConfig(device="cpu", keep=keep)), lambda _: None)
    assert (run.state, run.model_path) == ("finished", run_folder(run.id) / LAST)
    assert seen == [[LAST], [BEST, LAST], [BEST, LAST]]
    assert sorted(folder.name for folder in run_folder(run.id).iterdir() if folder.is_dir()) == folders
    assert not list(run_folder(run.id).rglob(STATE_FILE))
    assert read_record(find_model(f"run/{run.id}").path)["step"] == (1 if keep == "best" else 3)
    if keep == "last":
        with pytest.raises(ModelError, match="Unknown model"):
            find_model(f"run/{run.id}/{BEST}")
    else:
        found = find_model(f"run/{run.id}/{BEST}")
        assert found.title.endswith("best at step 1")
        assert run_export.student_folder(run, best=True) == found.path


def test_a_disk_that_fills_up_leaves_the_older_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LAST).mkdir()
    (tmp_path / LAST / "weights").write_text("first")
    save_last_as_best(tmp_path)
    (tmp_path / LAST / "weights").unlink()
    (tmp_path / LAST / "weights").write_text("second")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.link", full)
    monkeypatch.setattr("shutil.copy2", full)
    with pytest.raises(OSError, match="No space"):
        save_last_as_best(tmp_path)
    assert (tmp_path / BEST / "weights").read_text() == "first"
    assert not list(tmp_path.glob("*.part"))


def test_the_best_checkpoint_is_the_first_of_the_best_evaluations_after_the_start() -> None:
    assert best_step([(0, 0.99), (20, 0.6), (40, 0.8), (60, 0.8), (80, math.nan)]) == 40
    assert best_step([(0, 0.99)]) == 0
