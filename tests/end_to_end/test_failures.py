"""What can go wrong inside a run, put into real sessions: the state is right and the cause is in plain words."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from distill_core.cli.foreground import run_in_foreground
from distill_core.config.run_config import RunConfig
from distill_core.models.encoder import RECORD, load_model
from distill_core.runs.run import Run
from distill_core.runs.scheduler import enqueue, reconcile, wait
from distill_core.runs.store import Store
from distill_core.storage.model_folder import WEIGHTS
from distill_core.training import session, trainer
from tests.support.injected_worker import injected_command
from tests.support.small_run import small_run
from tests.support.tiny import tiny_folder


def failed(store: Store, config: RunConfig, before: Callable[[], None] = lambda: None) -> Run:
    """Return a run that was done here by a real session and failed; `before` is done once it is queued."""
    run_id = enqueue(store, config)
    before()
    run = run_in_foreground(store, run_id, lambda _: None)
    assert run.state == "failed", run.reason
    assert not re.match(r"\w+(Error|Exception)\b", run.reason)  # no name of a class
    assert run.reason.endswith(".")
    assert store.runs(("running", "queued")) == []
    return run


def steps_of(store: Store, run: Run) -> list[int]:
    return [point.step for point in store.metrics(run.id, names=["loss"])]


def write_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Put other weights into a model's folder, as another tool would: without our record of their checksum."""
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    (folder / RECORD).unlink()


# numbers ---------------------------------------------------------------------------------------


def spoil_from(monkeypatch: pytest.MonkeyPatch, call: int, spoil: Callable[[Any], None]) -> None:
    """Do something to the student before each of its passes in training, from one on."""
    real, calls = trainer.student_pass, [0]

    def spoiled(student: Any, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] >= call:
            with torch.no_grad():
                spoil(student.classifier.weight)
        return real(student, *given)

    monkeypatch.setattr(trainer, "student_pass", spoiled)


def test_a_loss_that_becomes_nan_fails_the_run_at_that_step(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_from(monkeypatch, 5, lambda weight: weight.fill_(torch.nan))
    run = failed(store, small_run(tiny_folder(tmp_path / "teacher"), steps=9))
    assert run.reason.startswith("Step 5: the ce term is not finite (nan). Lower the learning rate")
    assert steps_of(store, run) == [1, 2, 3, 4]
    assert run.model_path is not None
    student = load_model(run.model_path).network  # that of the evaluation before
    assert all(value.isfinite().all() for value in student.state_dict().values())


def test_a_loss_that_explodes_fails_the_run_once_it_overflows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_from(monkeypatch, 3, lambda weight: weight.mul_(1e8))
    run = failed(store, small_run(tiny_folder(tmp_path / "teacher"), steps=20, evaluate_every=2))
    assert re.match(r"Step \d+: the [\w ]+ is not finite \((nan|inf)\)\. Lower the learning rate", run.reason)
    assert run.step < 20
    losses = [point.value for point in store.metrics(run.id, names=["loss"])]
    assert losses[-1] > 1e6 > losses[0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_teacher_that_is_not_finite_is_named(store: Store, tmp_path: Path, value: float) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    weights = load_file(teacher / WEIGHTS)
    weights["classifier.bias"].fill_(value)
    write_weights(teacher, weights)
    assert "not finite" in failed(store, small_run(teacher)).reason


# memory ----------------------------------------------------------------------------------------


def no_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_no_memory_while_loading_says_what_to_change(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "open_model", no_memory)
    run = failed(store, small_run(tiny_folder(tmp_path / "teacher")))
    assert run.reason.startswith("Out of memory. Use a smaller batch")
    assert any("Tried to allocate 20.00 GiB" in line for line in store.log_tail(run.id))


def test_memory_that_runs_out_later_keeps_numbers_and_checkpoint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_from(monkeypatch, 5, no_memory)
    run = failed(store, small_run(tiny_folder(tmp_path / "teacher"), steps=9))
    assert run.reason.startswith("The device has too little memory for a single example.")
    assert steps_of(store, run) == [1, 2, 3, 4]
    log = "\n".join(store.log_tail(run.id))
    assert "Step 5: 4 examples at once do not fit in memory" in log  # it was tried with less before
    assert "Step 5: 2 examples at once" in log
    assert run.model_path is not None
    load_model(run.model_path)


@pytest.mark.slow
def test_a_worker_process_without_memory_fails_with_the_cause(store: Store, tmp_path: Path) -> None:
    fault = """
real, calls = trainer.student_pass, []
def short(*given):
    calls.append(1)
    if len(calls) > 4:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    return real(*given)
trainer.student_pass = short
"""
    run_id = enqueue(store, small_run(tiny_folder(tmp_path / "teacher"), steps=9))
    reconcile(store, injected_command(tmp_path, fault))
    run = wait(store, run_id, 120)
    assert (run.state, run.reason[:33]) == ("failed", "The device has too little memory ")
    assert steps_of(store, run) == [1, 2, 3, 4]


# models ----------------------------------------------------------------------------------------


def without_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def lacking(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["classifier.weight"]
    write_weights(folder, weights)


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


DAMAGE: dict[Callable[[Path], None], str] = {
    shutil.rmtree: "teacher",
    without_weights: "model.safetensors",
    cut: "model.safetensors is damaged",
    lacking: "classifier.weight",
    no_json: "config.json",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_teacher_damaged_while_its_run_waits_is_the_reason(
    store: Store, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    teacher = tiny_folder(tmp_path / "teacher")
    run = failed(store, small_run(teacher), lambda: damage(teacher))
    assert re.search(DAMAGE[damage], run.reason), run.reason
    assert run.model_path is None


def test_a_student_of_another_task_is_the_reason(store: Store, tmp_path: Path) -> None:
    teacher, student = tiny_folder(tmp_path / "teacher"), tiny_folder(tmp_path / "student", task="mnli")
    assert "mnli" in failed(store, small_run(teacher, student_init=str(student))).reason


# data ------------------------------------------------------------------------------------------


def glue(folder: Path) -> Path:
    (folder / "SST-2").mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / "SST-2" / name).write_text("sentence\tlabel\n" + "a good film\t1\na bad film\t0\n" * 8)
    return folder


def emptied(folder: Path) -> None:
    for name in ("train.tsv", "dev.tsv"):
        (folder / "SST-2" / name).write_text("sentence\tlabel\n")


def mislabelled(folder: Path) -> None:
    (folder / "SST-2" / "train.tsv").write_text("sentence\tlabel\na good film\tgreat\n")


def without_train(folder: Path) -> None:
    (folder / "SST-2" / "train.tsv").unlink()


@pytest.mark.parametrize("damage", [shutil.rmtree, emptied, mislabelled, without_train])
def test_data_that_went_while_the_run_waited_are_the_reason(
    store: Store, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    source = glue(tmp_path / "glue")
    config = small_run(tiny_folder(tmp_path / "teacher"), source=str(source))
    run = failed(store, config, lambda: damage(source))
    assert str(source) in run.reason


def test_own_data_that_are_gone_are_the_reason(store: Store, tmp_path: Path) -> None:
    run = failed(store, small_run(tiny_folder(tmp_path / "teacher"), source="own/reviews-0123456789"))
    assert "own/reviews-0123456789" in run.reason
