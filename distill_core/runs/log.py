"""A run's log file: the lines of its worker and the output of the libraries it uses, of any length."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

LOG_NAME = "log.txt"
_TAIL_BYTES, _LINE_BYTES = 64 * 1024, 256  # read at least, and for each requested line
_LONGEST_LINE = 64 * 1024  # bytes; a longer line is read in pieces


def tail(path: Path, lines: int) -> list[str]:
    """Return the last lines of a log, none while there is no log."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - max(_TAIL_BYTES, lines * _LINE_BYTES)))
            text = log.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [_shown(line) for line in text.rstrip().split("\n")][-lines:] if text.strip() else []


def search(path: Path, words: str, lines: int) -> list[str]:
    """Return the last lines of a whole log that contain the words, in any case; none while there is no log."""
    searched = words.lower()
    return list(deque((line for line in _lines(path) if searched in line.lower()), maxlen=lines))


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as log:
            while line := log.readline(_LONGEST_LINE):
                yield _shown(line.decode("utf-8", errors="replace").rstrip())
    except FileNotFoundError:
        return


def _shown(line: str) -> str:
    return line.rsplit("\r", 1)[-1]  # the last state of a progress bar
