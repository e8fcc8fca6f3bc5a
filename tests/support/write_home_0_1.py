"""Write the DISTILL_HOME of version 0.1 that tests/end_to_end/test_home_of_0_1.py reads.

Works with the code of version 0.1 only (commit 0033b5d), in a checkout of it:

    PYTHONPATH=CHECKOUT_OF_0_1 python tests/support/write_home_0_1.py tests/fixtures/home_0_1

Training data and teacher are tiny. Absolute paths are replaced by `@FIXTURE@`, which the test replaces in turn by the
place it copies the fixture to.
"""

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
    submit(store, queued)
    states = [(run.config.name, run.state, run.step) for run in store.runs()]
    assert states == [("queued", "queued", 0), ("paused", "paused", PAUSE_AT), ("whole", "finished", 40)], states


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
    for rest in (*store.parent.glob("runs.sqlite.*"), *store.parent.glob("teacher*")):
        shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
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
