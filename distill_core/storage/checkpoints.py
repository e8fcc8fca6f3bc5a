"""A run's checkpoints on disk: `student`, as it was last, and `best`; whole at any moment, whatever is killed.

A student is never written over: a new folder is built beside it and put in its place by renaming.
"""

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path

from distill_core.paths import STATE_FILE

LAST, BEST = "student", "best"
RECORD = "distill.json"  # in each: what it is, and what it was made by
KEEP_CHOICES = ("best_and_last", "last", "best")  # what may stay of a finished run's checkpoints


def sibling_path(path: Path, kind: str) -> Path:
    """Return the name of a folder of this process beside another: its new content (part) or the old one (old)."""
    return path.with_name(f"{path.name}.{os.getpid()}.{kind}")


def replace_folder(part: Path, path: Path) -> None:
    """Put a folder in the place of another, which is set aside first and deleted last."""
    old = sibling_path(path, "old")
    if _there(path):
        path.rename(old)
    part.rename(path)
    with contextlib.suppress(OSError):  # it was never there, or the next tidying deletes it
        delete_folder(old)


def save_last_as_best(folder: Path) -> None:
    """Keep the last checkpoint as the best one, too, sharing its files; without what the training goes on from.

    OSError when the disk is full; what was half-built is then deleted.
    """
    last, best = folder / LAST, folder / BEST
    part = sibling_path(best, "part")
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


def delete_obsolete_checkpoints(folder: Path, keep: str) -> None:
    """Delete what a finished run needs no more: its training state, and the checkpoints that `keep` does not name.

    `keep`: one of KEEP_CHOICES. A best checkpoint that is also the last is stored once. Where only the best is kept, it
    takes the place of the last, so that a run always has a student. A run without a best checkpoint (its metric was
    never defined) keeps its last, and one whose last is gone keeps its best. Safe to repeat.
    """
    if not (folder / LAST).exists():
        return
    (folder / LAST / STATE_FILE).unlink(missing_ok=True)
    if keep == "last" or _is_best(folder / LAST):
        shutil.rmtree(folder / BEST, ignore_errors=True)
    elif keep == "best" and (folder / BEST).exists():
        replace_folder(folder / BEST, folder / LAST)


def set_checkpoints_aside(folder: Path) -> list[Path]:
    """Take a run's checkpoints, and what was half-built of any, out of their places, and return what is to be deleted.

    Only renames, and the last one's record stays; killed in the middle it leaves that record, and can be done again.
    OSError where a file cannot be renamed or written.
    """
    _put_back(folder)
    last = folder / LAST
    if (last / RECORD).exists() and (last.is_symlink() or [file.name for file in last.iterdir()] != [RECORD]):
        part = _unique(last, "part")
        part.mkdir()
        _share(last / RECORD, part / RECORD)
        last.rename(_unique(last, "old"))
        part.rename(last)
    kept = last if (last / RECORD).exists() else None
    found = [rest for rest in (last, folder / BEST, *_leftovers(folder)) if _there(rest) and rest != kept]
    return [rest.rename(_unique(folder / rest.name.split(".")[0], "part")) for rest in found]


def repair_checkpoints(folder: Path) -> None:
    """Undo what a kill in the middle of saving left: put an older checkpoint back, delete a half-written one."""
    _put_back(folder)
    for rest in _leftovers(folder):
        with contextlib.suppress(OSError):
            delete_folder(rest)


def delete_folder(path: Path) -> None:
    """Delete a folder, or a link to one but nothing behind it; OSError where the disk does not let go of something."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _is_best(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is of the run's best step, as its record says."""
    try:
        record = json.loads((checkpoint / RECORD).read_text(encoding="utf-8"))
        return bool(record["step"] == record["best"])
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        RecursionError,
    ):  # gone or damaged: whatever else there is stays
        return False


def _put_back(folder: Path) -> None:
    """Put checkpoints back that were set aside for new ones which were never put in their place."""
    for name in (LAST, BEST):
        for aside in sorted(folder.glob(f"{name}.*.old")):
            if not _there(folder / name):
                aside.rename(folder / name)


def _leftovers(folder: Path) -> list[Path]:
    """Return what was half-built of checkpoints, and what was set aside of them."""
    return [rest for name in (LAST, BEST) for kind in ("part", "old") for rest in folder.glob(f"{name}.*.{kind}")]


def _there(path: Path) -> bool:
    """Tell whether there is something of this name, be it a link to nothing."""
    return path.exists() or path.is_symlink()


def _unique(path: Path, kind: str) -> Path:
    """Return a name as `beside`, but one that no process has used or will."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.{kind}")


def _share(file: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such names."""
    try:
        os.link(file, other)
    except OSError:
        shutil.copy2(file, other)
