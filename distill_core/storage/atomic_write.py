"""Atomic writes of a file or folder to a place the user names: complete or not at all.

The content is built beside its target and renamed.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill_core.errors import StoreError
from distill_core.paths import home

IsReplaceable = Callable[[Sequence[Path]], bool]  # whether the entries of a folder are an earlier export


@contextmanager
def write_atomically(
    target: str | Path, force: bool, is_replaceable: IsReplaceable | None
) -> Iterator[tuple[Path, Path]]:
    """Yield the target and the path to build it at, which is renamed at the end and deleted after an error.

    `is_replaceable`: for a folder, whether its entries may be replaced; None for a file. Raises StoreError for a path
    that cannot be used and for errors of the disk.
    """
    path = _check_target(target, force, is_replaceable)
    mark = secrets.token_hex(4)
    part, old = (
        path.with_name(f".{mark}.{kind}") for kind in ("part", "old")
    )  # short: the target's name may be as long as the file system allows
    try:
        yield path, part
        if is_replaceable is not None and os.path.lexists(path):
            path.rename(old)
        part.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"No space left on the disk for {path}: free some space and try again.") from error
        raise StoreError(
            f"The export to {path} failed ({error}); check the permissions, or choose another place."
        ) from error
    finally:
        if old.exists() and not os.path.lexists(path):
            old.rename(path)
        _remove(part)


def _check_target(target: str | Path, force: bool, is_replaceable: IsReplaceable | None) -> Path:
    """Return the absolute path of a target that may be written to; StoreError for any other."""
    shown = str(target)[:200]
    try:
        path = Path(os.path.abspath(Path(target).expanduser()))
        if not path.parent.is_dir():
            problem = "is not a folder" if path.parent.exists() else "does not exist"
            raise StoreError(
                f"{shown!r} cannot be written: {path.parent} {problem}; create that folder, or choose another."
            )
        if path.resolve().is_relative_to(home().resolve()):
            raise StoreError(f"{path} is in the application's folder, {home()}; choose a place outside of it.")
        path.lstat()
        entries = list(path.iterdir()) if path.is_dir() else None
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, no permission, an unknown ~user, a NUL
        raise StoreError(f"{shown!r} cannot be written ({error}); choose another place.") from error
    if not force:
        raise StoreError(f"{path} exists already; choose another place, or replace it with --force.")
    if is_replaceable is None and entries is None:
        return path
    if is_replaceable is None or entries is None or path.is_symlink():
        wanted = "a file" if is_replaceable is None else "a folder"
        raise StoreError(
            f"{path} is {'a file' if entries is None else 'a folder or a link'}; wanted a name for {wanted}."
        )
    if entries and not is_replaceable(entries):
        raise StoreError(f"{path} is a folder with other files in it, which --force does not delete; choose another.")
    return path


def _remove(part: Path) -> None:
    """Delete the partial build; after success there is none."""
    shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):
        part.unlink()
