"""A run's checkpoints on disk, `student` (the last) and `best`: complete at any moment, even after a kill.

A checkpoint is never overwritten: a new folder is built beside it and renamed.
"""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from distill_core.json_file import read_json_object
from distill_core.paths import STATE_FILE

LAST, BEST = "student", "best"
RECORD = "distill.json"  # in each checkpoint: its task, step, versions and fingerprints
KEEP_CHOICES = ("best_and_last", "last", "best")  # the checkpoints a finished run may keep


def sibling_path(path: Path, kind: str) -> Path:
    """Return the path beside a folder where this process builds the new one (part) or sets the old one aside (old)."""
    return path.with_name(f"{path.name}.{os.getpid()}.{kind}")


def replace_folder(part: Path, path: Path) -> None:
    """Rename a folder to the path of another, which is set aside first and deleted last."""
    old = sibling_path(path, "old")
    if _exists(path):
        path.rename(old)
    part.rename(path)
    with contextlib.suppress(OSError):  # it did not exist, or the next repair deletes it
        delete_folder(old)


def save_last_as_best(folder: Path) -> None:
    """Save the last checkpoint as the best one too, sharing its files, without the training state.

    OSError when the disk is full; the partial folder is then deleted.
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
    """Rename a run's checkpoints and partial folders, and return the paths to delete; the last one's record stays.

    After a kill in the middle the record is still there, and the call can be repeated. OSError if a file cannot be
    renamed or written.
    """
    _restore(folder)
    last = folder / LAST
    if (last / RECORD).exists() and (last.is_symlink() or [file.name for file in last.iterdir()] != [RECORD]):
        part = _unique(last, "part")
        part.mkdir()
        _share(last / RECORD, part / RECORD)
        last.rename(_unique(last, "old"))
        part.rename(last)
    remaining = last if (last / RECORD).exists() else None
    others = [rest for rest in (last, folder / BEST, *_leftovers(folder)) if _exists(rest) and rest != remaining]
    return [rest.rename(_unique(folder / rest.name.split(".")[0], "part")) for rest in others]


def repair_checkpoints(folder: Path) -> None:
    """Repair the folder after a kill in the middle of saving: restore an older checkpoint, delete a partial one."""
    _restore(folder)
    for rest in _leftovers(folder):
        with contextlib.suppress(OSError):
            delete_folder(rest)


def delete_folder(path: Path) -> None:
    """Delete a folder, or a link but not its target; OSError if something cannot be deleted."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _is_best(checkpoint: Path) -> bool:
    """Return whether a checkpoint's record names the run's best step as its own."""
    try:
        record = read_json_object(checkpoint / RECORD)
    except (OSError, ValueError):  # missing or damaged: keep the other checkpoints
        return False
    return "step" in record and record["step"] == record.get("best")


def _restore(folder: Path) -> None:
    """Restore checkpoints that were set aside for new ones which never took their place."""
    for name in (LAST, BEST):
        for aside in sorted(folder.glob(f"{name}.*.old")):
            if not _exists(folder / name):
                aside.rename(folder / name)


def _leftovers(folder: Path) -> list[Path]:
    """Return the partial checkpoints and those set aside."""
    return [rest for name in (LAST, BEST) for kind in ("part", "old") for rest in folder.glob(f"{name}.*.{kind}")]


def _exists(path: Path) -> bool:
    """Return whether a path exists, also as a broken link."""
    return path.exists() or path.is_symlink()


def _unique(path: Path, kind: str) -> Path:
    """Return a path as `sibling_path` does, with a random mark that no process uses twice."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.{kind}")


def _share(file: Path, other: Path) -> None:
    """Hard-link a file, or copy it where the file system has no hard links."""
    try:
        os.link(file, other)
    except OSError:
        shutil.copy2(file, other)
