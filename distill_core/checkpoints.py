"""A run's checkpoints on disk: `student`, as it was last, and `best`; whole at any moment, whatever is killed.

A student is never written over: a new folder is built beside it and put in its place by renaming.
"""

import os
import shutil
from pathlib import Path

from distill_core.paths import STATE_FILE

LAST, BEST = "student", "best"
RECORD = "distill.json"  # in each: what it is, and what it was made by
KEPT = ("best_and_last", "last", "best")  # what may stay of a finished run's checkpoints


def beside(path: Path, kind: str) -> Path:
    """Return the name of a folder of this process beside another: its new content (part) or the old one (old)."""
    return path.with_name(f"{path.name}.{os.getpid()}.{kind}")


def replace_folder(part: Path, path: Path) -> None:
    """Put a folder in the place of another, which is set aside first and deleted last."""
    old = beside(path, "old")
    if path.exists():
        path.rename(old)
    part.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def keep_as_best(folder: Path) -> None:
    """Keep the last checkpoint as the best one, too, sharing its files; without what the training goes on from.

    OSError when the disk is full; what was half-built is then deleted.
    """
    last, best = folder / LAST, folder / BEST
    part = beside(best, "part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        for file in last.iterdir():
            if file.name != STATE_FILE:
                _share(file, part / file.name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    replace_folder(part, best)


def settle_checkpoints(folder: Path, last_is_best: bool, keep: str) -> None:
    """Delete what a finished run needs no more: what it would go on from, and checkpoints as `keep`, of KEPT, says.

    A best checkpoint that is the last is not kept twice. Where only the best is kept it takes the place of the last, so
    that a run's student is always there; one without a best, as its metric was never defined, keeps its last.
    """
    (folder / LAST / STATE_FILE).unlink(missing_ok=True)
    if keep == "last" or last_is_best:
        shutil.rmtree(folder / BEST, ignore_errors=True)
    elif keep == "best" and (folder / BEST).exists():
        replace_folder(folder / BEST, folder / LAST)


def clear_checkpoints(folder: Path) -> None:
    """Delete a run's checkpoints and what was half-built of any; the last one's record stays in its place.

    OSError where the disk does not let go of something.
    """
    tidy_checkpoints(folder)
    aside = [(folder / name).rename(beside(folder / name, "part")) for name in (LAST, BEST) if (folder / name).exists()]
    for rest in aside:
        if rest.name.startswith(f"{LAST}.") and (rest / RECORD).exists():
            (folder / LAST).mkdir()
            (rest / RECORD).rename(folder / LAST / RECORD)
        shutil.rmtree(rest)


def tidy_checkpoints(folder: Path) -> None:
    """Undo what a kill in the middle of saving left: put an older checkpoint back, delete a half-written one."""
    for name in (LAST, BEST):
        for aside in sorted(folder.glob(f"{name}.*.old")):
            if not (folder / name).exists():
                aside.rename(folder / name)
        for rest in (*folder.glob(f"{name}.*.part"), *folder.glob(f"{name}.*.old")):
            shutil.rmtree(rest, ignore_errors=True)


def _share(file: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such names."""
    try:
        os.link(file, other)
    except OSError:
        shutil.copy2(file, other)
