"""The cache: bounded, shared, and never a reason to fail."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from distill_core.errors import ModelError
from distill_core.explanation.cache import OVERHEAD, ExplanationCache, cache_key, folder_fingerprint
from distill_core.models.encoder import load_model
from tests.support.tiny import tiny_folder


@pytest.fixture
def cache(tmp_path: Path) -> ExplanationCache:
    return ExplanationCache(tmp_path / "cache.sqlite")


def test_what_is_put_is_found_by_another_opener(cache: ExplanationCache) -> None:
    cache.put({"a": "1", "b": "zwei – 二"})
    assert ExplanationCache(cache.path).get(["b", "a", "c"]) == {"a": "1", "b": "zwei – 二"}
    cache.put({"a": "2"})
    assert cache.get(["a"]) == {"a": "2"}


def test_the_default_file_lies_in_the_applications_folder(own_home: Path) -> None:
    ExplanationCache().put({"a": "1"})
    assert (own_home / "explanations.sqlite").is_file()


def test_the_least_recently_used_leave_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill_core.explanation.cache.FRESH_SECONDS", 0)
    size = 1000 + OVERHEAD
    cache = ExplanationCache(tmp_path / "cache.sqlite", max_bytes=10 * size)
    for number in range(10):
        cache.put({str(number): "x" * 1000})
    cache.get(["0"])
    cache.put({"10": "x" * 1000})
    kept = cache.get([str(number) for number in range(11)])
    assert set(kept) == {"0", *(str(number) for number in range(3, 11))}  # shrunk to nine tenths


def test_the_file_stays_bounded(tmp_path: Path) -> None:
    cache = ExplanationCache(tmp_path / "cache.sqlite", max_bytes=200_000)
    for number in range(100):
        cache.put({f"{number}": "x" * 10_000})
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 6_000_000  # of it the log at most 4 MB
    assert cache.path.stat().st_size < 600_000


def test_a_damaged_entry_is_dropped_and_the_others_stay(cache: ExplanationCache) -> None:
    cache.put({"a": "1", "b": "2"})
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE entries SET text = '9' WHERE key = 'a'")
    connection.close()
    assert cache.get(["a", "b"]) == {"b": "2"}
    with sqlite3.connect(cache.path) as connection:
        assert connection.execute("SELECT key FROM entries").fetchall() == [("b",)]
    connection.close()


def test_a_damaged_file_is_replaced(cache: ExplanationCache) -> None:
    cache.path.write_bytes(b"this is no database, " * 400)
    assert cache.get(["a"]) == {}
    cache.put({"a": "1"})
    assert cache.get(["a"]) == {"a": "1"}


def test_a_file_cut_short_is_no_reason_to_fail(cache: ExplanationCache) -> None:
    cache.put({str(number): "x" * 5000 for number in range(50)})
    content = cache.path.read_bytes()
    cache.path.write_bytes(content[: len(content) // 2])
    for _ in range(3):
        assert len(cache.get([str(number) for number in range(50)])) <= 50
        cache.put({"a": "1"})
    assert cache.get(["a"]) == {"a": "1"}


def test_a_folder_that_cannot_be_written_is_a_miss(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "c.sqlite").mkdir()  # a folder where the file should be
    cache = ExplanationCache(tmp_path / "cache" / "c.sqlite")
    cache.put({"a": "1"})
    assert cache.get(["a"]) == {}


def test_a_folder_that_cannot_be_made_is_a_miss(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ExplanationCache(tmp_path / "file" / "c.sqlite")
    cache.put({"a": "1"})
    assert cache.get(["a"]) == {}


def test_threads_and_processes_share_it(cache: ExplanationCache) -> None:
    code = (
        "import sys; from pathlib import Path; from distill_core.explanation.cache import ExplanationCache\n"
        "cache = ExplanationCache(Path(sys.argv[1]))\n"
        "for number in range(40): cache.put({f'{sys.argv[2]}{number}': 'x' * 500}); cache.get([f'{number}'])"
    )
    command = [sys.executable, "-c", code, str(cache.path)]
    root = Path(__file__).parents[2]
    others = [subprocess.Popen([*command, name], cwd=root) for name in ("p", "q")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: cache.put({f"t{number}": "y"}), range(40)))
    assert [other.wait(60) for other in others] == [0, 0]
    wanted = [f"{name}{number}" for name in "pqt" for number in range(40)]
    assert len(cache.get(wanted)) == 120


def test_keys_tell_every_part_apart() -> None:
    keys = {cache_key("ab", "c"), cache_key("a", "bc"), cache_key("a", "b", "c"), cache_key(None), cache_key("None")}
    assert len(keys) == 5


def test_a_folders_fingerprint_is_the_loaded_models(tmp_path: Path, cache: ExplanationCache) -> None:
    folder = tiny_folder(tmp_path / "model")
    assert folder_fingerprint(folder, cache) == load_model(folder).fingerprint
    assert folder_fingerprint(folder, cache) == load_model(folder).fingerprint


def test_a_fingerprint_follows_the_weights_and_hashes_them_once(
    tmp_path: Path, cache: ExplanationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_folder(tmp_path / "model")
    first = folder_fingerprint(folder, cache)
    monkeypatch.setattr("distill_core.explanation.cache.file_sha256", lambda _: pytest.fail("hashed again"))
    assert folder_fingerprint(folder, cache) == first
    monkeypatch.undo()
    tiny_folder(tmp_path / "model", seed=1)
    assert folder_fingerprint(folder, cache) != first


def test_other_weights_of_the_same_size_age_and_inode_are_told_apart(tmp_path: Path, cache: ExplanationCache) -> None:
    weights, other = (tiny_folder(tmp_path / name, seed=len(name)) / "model.safetensors" for name in ("a", "bb"))
    os.utime(weights, (1, 1))
    first, before = folder_fingerprint(weights.parent, cache), weights.stat()
    weights.write_bytes(other.read_bytes())
    os.utime(weights, (1, 1))
    after = weights.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert folder_fingerprint(weights.parent, cache) != first


def test_a_folder_without_weights_is_refused(tmp_path: Path, cache: ExplanationCache) -> None:
    with pytest.raises(ModelError, match="not a usable model folder"):
        folder_fingerprint(tmp_path, cache)
