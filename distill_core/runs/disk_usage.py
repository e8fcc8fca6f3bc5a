"""The disk space of runs."""

from collections.abc import Iterable
from pathlib import Path

from distill_core.paths import run_folder
from distill_core.storage.checkpoints import BEST, LAST, RECORD


def run_size(run_id: str) -> int:
    """Return the bytes of a run's folder; files that checkpoints share count once, deleted ones not.

    The target of a link is not included: it is never deleted either.
    """
    return _total_size(run_folder(run_id).rglob("*"))


def freeable_size(run_id: str) -> int:
    """Return the bytes that freeing a run would delete: all checkpoints, half-written ones included."""
    folder = run_folder(run_id)
    checkpoint_files = {file for name in (LAST, BEST) for file in folder.glob(f"{name}*/**/*")}
    checkpoint_files -= {folder / LAST / RECORD}
    return run_size(run_id) - _total_size(file for file in folder.rglob("*") if file not in checkpoint_files)


def _total_size(files: Iterable[Path]) -> int:
    sizes: dict[tuple[int, int], int] = {}  # by device and inode
    for file in files:
        try:
            status = file.lstat()
        except OSError:  # deleted meanwhile
            continue
        if not file.is_dir():
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
