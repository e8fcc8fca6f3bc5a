"""A file or folder put where a user names it, whole or not at all.

It is built beside its place and renamed.
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

IsReplaceable = Callable[
    [Sequence[Path]], bool
]  # whether what is in a folder is of an earlier time, and may be replaced


@contextmanager
def write_atomically(target: str | Path, force: bool, ours: IsReplaceable | None) -> Iterator[tuple[Path, Path]]:
    """Yield where a thing is to be and where to build it; renamed at the end, deleted where anything goes wrong.

    `ours`: for a folder, None for a file. Raises StoreError, in words, for a path that cannot be used and for what the
    disk refuses.
    """
    path = _checked(target, force, ours)
    mark = secrets.token_hex(4)
    part, old = (path.with_name(f".{mark}.{kind}") for kind in ("part", "old"))  # short: its own name may be long
    try:
        yield path, part
        if ours is not None and os.path.lexists(path):
            path.rename(old)
        part.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"No space left on the disk for {path}: free some and try again.") from error
        raise StoreError(f"The export to {path} failed ({error}); check rights, or name another place.") from error
    finally:
        if old.exists() and not os.path.lexists(path):
            old.rename(path)
        _remove(part)


def _checked(target: str | Path, force: bool, ours: IsReplaceable | None) -> Path:
    """Return the absolute path of a place that may be written to; StoreError, with what to do, for any other."""
    said = str(target)[:200]
    try:
        path = Path(os.path.abspath(Path(target).expanduser()))
        if not path.parent.is_dir():
            kind = "is no folder" if path.parent.exists() else "does not exist"
            raise StoreError(f"{said!r} cannot be written: {path.parent} {kind}; make that folder, or name another.")
        if path.resolve().is_relative_to(home().resolve()):
            raise StoreError(f"{path} lies in the app's own folder, {home()}; name a place outside of it.")
        path.lstat()
        found = list(path.iterdir()) if path.is_dir() else None
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, no rights, an unknown ~user, a NUL
        raise StoreError(f"{said!r} cannot be written ({error}); name another place.") from error
    if not force:
        raise StoreError(f"{path} exists already; name another place, or replace it with --force.")
    if ours is None and found is None:
        return path
    if ours is None or found is None or path.is_symlink():
        wanted = "a file" if ours is None else "a folder"
        raise StoreError(
            f"{path} is {'a file' if found is None else 'a folder or a link'}; wanted a name for {wanted}."
        )
    if found and not ours(found):
        raise StoreError(f"{path} is a folder with other things in it, which --force does not delete; name another.")
    return path


def _remove(part: Path) -> None:
    """Delete what was half-built; it is gone where all went well."""
    shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):
        part.unlink()
