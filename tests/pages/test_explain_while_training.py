"""Explaining goes on while a run trains, says so, and says how long it took."""

import os
import signal
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.config.run_config import RunConfig
from distill_core.errors import StoreError
from distill_core.runs.scheduler import enqueue, reconcile, stop, wait
from distill_core.runs.store import Store
from pages.components import resources
from tests.support.opening import html_of, open_page
from tests.support.processes import SERVER, start_python
from tests.support.small_run import small_run
from tests.support.small_worker import training, worker_command
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.tiny import tiny_folder
from tests.support.waiting import PROMISE, until


def explained(folders: list[Path], text: str) -> AppTest:
    address = {"teacher": str(folders[0]), "student": str(folders[1]), "method": "gradient", "text": text}
    return open_page("explain.py", address)


def last_line(page: AppTest) -> str:
    return page.caption[-1].value.replace("\\", "")


@pytest.mark.slow
def test_a_sentence_is_explained_while_a_worker_trains(store: Store, tmp_path: Path) -> None:
    folders = [tiny_folder(tmp_path / name, seed=seed) for seed, name in enumerate(("teacher", "student"))]
    run_id = enqueue(store, small_run(folders[0], steps=1_000_000, evaluate_every=1000, name="a <b>run</b>"))
    reconcile(store)
    assert until(lambda: store.get(run_id).step >= 5, 120), store.log_tail(run_id)
    page = explained(folders, "the film is good")
    assert "dl-map" in html_of(page)
    assert "while a <b>run</b> trains on CPU." in last_line(page)
    assert "A text you typed. Explained in " in last_line(page)
    step = store.get(run_id).step
    assert until(lambda: store.get(run_id).step > step)  # it was not held up for good
    stop(store, run_id)
    assert wait(store, run_id, PROMISE).state == "stopped"
    page = explained(folders, "the film is bad")
    assert "dl-map" in html_of(page)
    assert "trains" not in last_line(page)


def test_only_what_a_process_works_on_counts_as_training(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(store, RunConfig(device="cpu"))
    assert store.claim(lambda _: ("mps",), FAKE_TOKEN) is not None  # nobody works on it
    assert resources.running_runs() == []
    run = training(store, worker_command(tmp_path, "plain"))
    assert [one.id for one in resources.running_runs()] == [run.id]

    def unreadable(*_: object) -> None:
        raise StoreError("damaged")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "runs", unreadable)
        assert resources.running_runs() == []  # and Explain goes on


def test_home_does_not_show_a_dead_run_as_training(store: Store, tmp_path: Path) -> None:
    folder = store.path.parent / "runs" / "teacher" / "student"
    folder.parent.mkdir(parents=True)
    tiny_folder(folder)
    start_python(SERVER.format(command=tuple(worker_command(tmp_path, "plain")))).wait(
        timeout=60
    )  # killed: it sees no end
    (run,) = store.runs(("running",))
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    root = Path(__file__).resolve().parents[2]
    page = AppTest.from_file(str(root / "app.py"), default_timeout=120).run()
    assert not page.exception
    assert len(page.get("progress")) == 0
    assert store.get(run.id).state == "lost"
