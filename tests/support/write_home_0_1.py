"""Write the DISTILL_HOME of version 0.1 that tests/end_to_end/test_home_of_0_1.py reads.

Works with the code of version 0.1 only (commit 0033b5d), in a checkout of it:

    PYTHONPATH=CHECKOUT_OF_0_1 python tests/support/write_home_0_1.py tests/fixtures/home_0_1

Training data and teacher are tiny. Absolute paths are replaced by `@FIXTURE@`, which the test replaces in turn by the
place it copies the fixture to.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

PLACEHOLDER = "@FIXTURE@"
PAUSE_AT = 17  # between two evaluations, so that the checkpoint is the one that the pause wrote
CACHED_TEXT = "the good film plot"
WORDS = "film story plot acting music".split()


def write_data(folder: Path) -> None:
    """Write a GLUE folder with an SST-2 whose label is one word of each sentence."""
    (folder / "SST-2").mkdir(parents=True)
    drawn = random.Random(0)
    for name, count in (("train.tsv", 48), ("dev.tsv", 16)):
        lines = ["sentence\tlabel"]
        for at in range(count):
            words = drawn.choices(WORDS, k=3)
            words[drawn.randrange(3)] = ("bad", "good")[at % 2]
            lines.append(f"the {' '.join(words)}\t{at % 2}")
        (folder / "SST-2" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_runs(work: Path) -> None:
    """Leave three runs in the store: a finished one, one of its settings that is paused, and a queued one."""
    from distill_core.config import RunConfig  # type: ignore[import-not-found, unused-ignore]
    from distill_core.events import Measured
    from distill_core.runner import submit
    from distill_core.store import Store
    from distill_core.worker import run_in_foreground
    from tests.tiny import tiny_folder

    teacher = tiny_folder(work / "teacher", layers=2)
    common = {
        "teacher": str(teacher),
        "source": str(work / "glue"),
        "batch_size": 4,
        "device": "cpu",
        "max_length": 32,
        "weak_teacher": "go_on",
        "evaluate_every": 10,
    }
    store = Store()
    paused = RunConfig.from_values(
        common | {"method": "ad_kd", "student_layers": 1, "steps": 40, "patience": 40, "name": "whole"}
    )
    queued = RunConfig.from_values(
        common
        | {"method": "gkd_cls", "student": "even", "student_layers": 2, "steps": 6, "evaluate_every": 3}
        | {"patience": 9, "patience_weight": 50.0, "name": "queued"}
    )
    whole = submit(store, paused)
    run_in_foreground(store, whole, lambda _: None)
    broken = submit(store, RunConfig.from_values({**vars(paused), "name": "paused"}))

    def pause(event: object) -> None:
        if isinstance(event, Measured) and event.step == PAUSE_AT:
            store.request(broken, "pause")
            signal.raise_signal(signal.SIGTERM)

    run_in_foreground(store, broken, pause)
    waiting = submit(store, queued)
    write_caches(work, waiting, whole)
    states = [(run.config.name, run.state, run.step) for run in store.runs()]
    assert states == [("queued", "queued", 0), ("paused", "paused", PAUSE_AT), ("whole", "finished", 40)], states


def write_caches(work: Path, queued: str, whole: str) -> None:
    """Train the queued run in a copy of the home folder and explain a text; put both caches into the home folder.

    `queued_losses.json` gets the losses that 0.1 measured in that run.
    """
    from distill_core.bundle import open_model  # type: ignore[import-not-found, unused-ignore]
    from distill_core.explanation_cache import ExplanationCache  # type: ignore[import-not-found, unused-ignore]
    from distill_core.explanations import explain  # type: ignore[import-not-found, unused-ignore]
    from distill_core.store import Store
    from distill_core.worker import run_in_foreground

    home, copy = work / "home", work.parent / "copy"
    shutil.rmtree(home / "teacher", ignore_errors=True)
    shutil.copytree(home, copy)
    os.environ["DISTILL_HOME"] = str(copy)
    store = Store()
    run_in_foreground(store, queued, lambda _: None)
    losses = {point.step: point.value for point in store.metrics(queued) if point.name == "loss"}
    (work / "queued_losses.json").write_text(json.dumps(losses) + "\n", encoding="utf-8")
    models = [open_model(name, task="sst2") for name in (str(work / "teacher"), f"run/{whole}")]
    explain("sst2", CACHED_TEXT, teacher=models[0], students=models[1:], cache=ExplanationCache())
    shutil.copytree(copy / "teacher", home / "teacher")
    connection = sqlite3.connect(copy / "explanations.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")  # one file
    connection.close()
    shutil.copy(copy / "explanations.sqlite", home)
    os.environ["DISTILL_HOME"] = str(home)


def make_portable(work: Path) -> None:
    """Replace the folder's own path in everything written, and delete what the test does not need."""
    store = work / "home" / "runs.sqlite"
    connection = sqlite3.connect(store, isolation_level=None)
    for table, column in (("runs", "config"), ("runs", "model_path"), ("runs", "reason"), ("data_used", "source")):
        connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(work), PLACEHOLDER))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("VACUUM")
    connection.execute("PRAGMA journal_mode = DELETE")  # one file; the app turns WAL on again
    connection.close()
    for rest in store.parent.glob("runs.sqlite.*"):
        rest.unlink()
    for file in work.rglob("*"):
        if file.suffix in (".json", ".txt"):
            file.write_text(file.read_text(encoding="utf-8").replace(str(work), PLACEHOLDER), encoding="utf-8")


def main() -> None:
    """Write the fixture to the folder that the only argument names, in place of what is there."""
    (target,) = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve() / "home_0_1"
        work.mkdir()
        os.environ["DISTILL_HOME"] = str(work / "home")
        write_data(work / "glue")
        write_runs(work)
        make_portable(work)
        readme = target / "README.md"
        kept = readme.read_text(encoding="utf-8") if readme.exists() else ""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(work, target)
        if kept:
            readme.write_text(kept, encoding="utf-8")


if __name__ == "__main__":
    main()
