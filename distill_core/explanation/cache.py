"""A bounded on-disk cache of model results: text by key, the least recently used evicted first.

It is one SQLite file, opened for each call, so threads and processes may share it. It holds nothing that cannot be
computed again: a damaged entry is dropped, a damaged file is replaced, and a locked file counts as a miss.
"""

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from distill_core.errors import ModelError
from distill_core.paths import home
from distill_core.storage.model_folder import WEIGHTS, file_sha256, fingerprint

FILE = "explanations.sqlite"
OVERHEAD = 200  # bytes an entry takes beside its text: key, checksum, index
FRESH_SECONDS = 60  # an entry marked as used within this time is not marked again, so that reads need no write

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries(
    key TEXT PRIMARY KEY, text TEXT NOT NULL, checksum TEXT NOT NULL, size INTEGER NOT NULL, used INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_use ON entries(used, size);
"""


class ExplanationCache:
    """Texts by key, together at most `max_bytes`; `path` is a SQLite file, by default in the app's folder."""

    def __init__(self, path: Path | None = None, max_bytes: int = 256 * 1024**2) -> None:
        self.path = path or home() / FILE
        self.max_bytes = max_bytes

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the texts of those keys that are cached, and mark them as used."""
        wanted = list(dict.fromkeys(keys))
        return self._attempt(lambda connection: _read(connection, wanted)) or {}

    def put(self, texts: Mapping[str, str]) -> None:
        """Store texts under their keys, then evict the least recently used entries beyond the limit."""
        self._attempt(lambda connection: _write(connection, texts, self.max_bytes))

    def _attempt(self, work: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Run one transaction; None if the file or folder cannot be used, or was damaged and has been deleted."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=5)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
                with connection:
                    return work(connection)
        except (sqlite3.OperationalError, OSError) as error:
            _LOG.warning("cannot use the cache %s (%s); continuing without it", self.path, error)
        except sqlite3.DatabaseError as error:
            _LOG.warning("the cache %s is damaged (%s); deleting it", self.path, error)
            for ending in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        return None


def cache_key(*parts: object) -> str:
    """Return the key of a result: a digest of everything it depends on (JSON values)."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def folder_fingerprint(path: Path, cache: ExplanationCache) -> str:
    """Return `LoadedModel.fingerprint` of a folder without loading it; the weights are hashed once.

    The digest is cached under path, size, times and inode. Raises ModelError when a file is missing.
    """
    try:
        state = (path / WEIGHTS).stat()
        key = cache_key("file", str(path.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        weights = cache.get([key]).get(key)
        if weights is None:
            weights = file_sha256(path / WEIGHTS)
            cache.put({key: weights})
        return fingerprint(path, weights)
    except OSError as error:
        raise ModelError(
            f"{path} is not a usable model folder ({error}); check its files or choose another model."
        ) from error


def _read(connection: sqlite3.Connection, keys: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for key in keys:
        row = connection.execute("SELECT text, checksum, used FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            continue
        if not isinstance(row[0], str) or _checksum(key, row[0]) != row[1]:
            _LOG.warning("dropping a damaged cache entry")
            connection.execute("DELETE FROM entries WHERE key = ?", (key,))
            continue
        texts[key] = row[0]
        now = time.time_ns()
        if now - row[2] > FRESH_SECONDS * 1e9:
            connection.execute("UPDATE entries SET used = ? WHERE key = ?", (now, key))
    return texts


def _write(connection: sqlite3.Connection, texts: Mapping[str, str], max_bytes: int) -> None:
    rows = [
        (key, text, _checksum(key, text), len(text.encode()) + OVERHEAD, time.time_ns()) for key, text in texts.items()
    ]
    connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
    (total,) = connection.execute("SELECT COALESCE(SUM(size), 0) FROM entries").fetchone()
    if total <= max_bytes:
        return
    for key, size in connection.execute("SELECT key, size FROM entries ORDER BY used").fetchall():
        connection.execute("DELETE FROM entries WHERE key = ?", (key,))
        total -= size
        if total <= 0.9 * max_bytes:
            return


def _checksum(key: str, text: str) -> str:
    return hashlib.sha256(f"{key}{text}".encode()).hexdigest()
