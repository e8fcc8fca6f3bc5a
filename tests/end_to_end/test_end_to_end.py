"""A real run: queued, trained by a worker process of its own on a tiny teacher, watched through the store."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill_core.catalog.catalog import find_model, list_models
from distill_core.cli.foreground import run_in_foreground
from distill_core.models.encoder import load_model
from distill_core.runs import scheduler
from distill_core.runs.store import Store
from tests.support.small_run import small_run
from tests.support.tiny import tiny_folder


@pytest.mark.slow
def test_a_worker_trains_a_student_that_can_be_opened(tmp_path: Path) -> None:
    store = Store()
    run_id = scheduler.enqueue(store, small_run(tiny_folder(tmp_path / "teacher")))
    scheduler.reconcile(store)
    run = scheduler.wait(store, run_id, 120)
    assert (run.state, run.reason, run.step) == ("finished", "", 6), store.log_tail(run_id)
    assert [point.step for point in store.metrics(run_id, names=["loss"])] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in store.metrics(run_id, names=["agreement/spearman"])] == [0, 3, 6]
    info = find_model(f"run/{run_id}")
    assert info in list_models()
    assert load_model(info.path).network.config.num_hidden_layers == 1


@pytest.mark.slow
def test_a_stopped_worker_keeps_its_student(tmp_path: Path) -> None:
    store = Store()
    run_id = scheduler.enqueue(store, small_run(tiny_folder(tmp_path / "teacher"), steps=100_000, evaluate_every=50))
    scheduler.reconcile(store)
    deadline = time.monotonic() + 120
    while store.get(run_id).step < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert scheduler.stop(store, run_id).status == "stopping"
    run = scheduler.wait(store, run_id, 15)
    assert run.state == "stopped", store.log_tail(run_id)
    assert f"step {run.step}" in run.reason
    load_model(find_model(f"run/{run_id}").path)


@pytest.mark.slow
def test_a_runs_command_line_makes_the_very_student_again(tmp_path: Path) -> None:
    store = Store()
    teacher = tiny_folder(tmp_path / "teacher")
    first = scheduler.enqueue(store, small_run(teacher, method="egkd_perturbation", seed=4, train_examples=16))
    run = run_in_foreground(store, first, lambda _: None)
    line = f"{run.local_command} --json"
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=200)
    again = store.get(json.loads(done.stdout)["run"])
    weights = [load_file(Path(str(one.model_path)) / "model.safetensors") for one in (run, again)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert store.data_of(run.id) == store.data_of(again.id)
