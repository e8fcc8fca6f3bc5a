"""Unpacked bundled models that the tests of a session share, over all its processes: each is unpacked once."""

from pathlib import Path

from distill_core.catalog.catalog import UNPACKED, bundled_models


def link_unpacked(shared: Path, home: Path) -> None:
    """Link the models that are unpacked already into an application folder."""
    folder = home / UNPACKED
    folder.mkdir(parents=True, exist_ok=True)
    for model in shared.iterdir():
        (folder / model.name).symlink_to(model)


def share_unpacked(shared: Path, home: Path) -> None:
    """Move the models that were unpacked into an application folder to the shared ones; the first of each remains."""
    folder = home / UNPACKED
    for name in (f"{entry.name}-{entry.sha256[:12]}" for entry in bundled_models().values()):
        if (folder / name).is_dir() and not (folder / name).is_symlink() and not (shared / name).exists():
            try:
                (folder / name).rename(shared / name)
            except OSError:  # another process was first
                continue
