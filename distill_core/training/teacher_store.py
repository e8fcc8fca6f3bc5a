"""A teacher's numbers on disk: a folder for each teacher and method, of files that are added and never changed.

An example is known by a digest of what it is, so runs on other samples of the same data share what they have in
common. A file is written aside and renamed: a killed process leaves whole files only. What is read is mapped, not
loaded: memory is taken for what is being used.
"""

import contextlib
import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distill_core.errors import StoreError
from distill_core.paths import home
from distill_core.training.state import tensors_sha256

Numbers = Mapping[str, Tensor]  # of one example, by name; no batch axis, no padding
STALE_SECONDS = 3600.0  # nobody writes one file for so long
LIMIT_BYTES = 2 * 1024**3  # of all teachers together; the least recently used leave first
_EXAMPLES, _LENGTHS, _SHAPE = "examples", "lengths", "shape/"  # a file's own tensors; no target has such a name


class TeacherStore:
    """The numbers of one teacher under one method.

    `key` names both. `token_axes`: the axes of an example's numbers that are as long as its text, by name.
    """

    def __init__(self, key: str, token_axes: Mapping[str, tuple[int, ...]]) -> None:
        self._folder = home() / "teacher" / hashlib.sha256(f"4 {key}".encode()).hexdigest()
        self._token_axes = token_axes

    def read(self) -> dict[bytes, Numbers]:
        """Return the numbers of all examples that are kept, by digest; a damaged file is deleted."""
        found: dict[bytes, Numbers] = {}
        for file in sorted(self._folder.glob("*.safetensors")):
            try:
                found |= self._numbers(file)
            except (SafetensorError, KeyError, ValueError):
                file.unlink(missing_ok=True)  # damaged; worth no failed run: it is computed again
            except (OSError, RuntimeError) as error:  # gone meanwhile, or no memory to map it: as if it were not there
                logging.getLogger(__name__).warning("%s is not read: %s", file, error)
        with contextlib.suppress(OSError):  # not there, or not ours to touch
            os.utime(self._folder)
        return found

    def add(self, numbers: Mapping[bytes, Numbers]) -> dict[bytes, Numbers]:
        """Keep the numbers of some examples, one at least, and return the same as they are now read.

        Where this teacher's alone would pass LIMIT_BYTES, its oldest files make room. StoreError where the numbers
        cannot be kept, on a full disk or because they alone are more than LIMIT_BYTES.
        """
        content = {
            _EXAMPLES: torch.tensor([list(example) for example in numbers], dtype=torch.uint8),
            _LENGTHS: torch.tensor([self._length(one) for one in numbers.values()]),
        }
        for name in next(iter(numbers.values())):
            parts = [one[name] for one in numbers.values()]
            if self._first_axis_only(name):
                content[name] = torch.cat(parts)
            elif name in self._token_axes:  # examples of several shapes: one after another, and their shapes beside
                content[name] = torch.cat([part.flatten() for part in parts])
                content[_SHAPE + name] = torch.tensor([part.shape for part in parts])
            else:
                content[name] = torch.stack(parts)
        file = self._folder / f"{time.time_ns():020}-{os.getpid()}.safetensors"
        part = file.with_suffix(".part")
        try:
            self._make_room(sum(tensor.nbytes for tensor in content.values()))
            self._folder.mkdir(parents=True, exist_ok=True)
            save_file(content, part, metadata={"sha256": tensors_sha256(content)})
            part.replace(file)
            _prune(self._folder)
            return self._numbers(file)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:  # pruned by another, too
            part.unlink(missing_ok=True)
            raise StoreError(f"The teacher's numbers could not be kept in {self._folder} ({error}).") from error

    def _make_room(self, wanted: int) -> None:
        """Delete this folder's oldest files until so many bytes can be added; StoreError where they are too many."""
        if wanted > LIMIT_BYTES:
            raise StoreError(f"{LIMIT_BYTES / 2**30:.0f} GB of a teacher's numbers are kept; these alone are more.")
        for file in sorted(self._folder.glob("*.safetensors")):
            if _size(self._folder) + wanted <= LIMIT_BYTES:
                return
            file.unlink(missing_ok=True)

    def _length(self, numbers: Numbers) -> int:
        lengths = (len(values) for name, values in numbers.items() if self._first_axis_only(name))
        return max(lengths, default=0)

    def _first_axis_only(self, name: str) -> bool:
        return self._token_axes.get(name) == (0,)

    def _split(self, name: str, content: Mapping[str, Tensor], lengths: list[int]) -> list[Tensor]:
        """Return the values of each example in a file."""
        values = content[name]
        if self._first_axis_only(name):
            return list(torch.split(values, lengths))
        if name not in self._token_axes:
            return list(values)
        shapes = content[_SHAPE + name].tolist()
        parts = torch.split(values, [math.prod(shape) for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _numbers(self, file: Path) -> dict[bytes, Numbers]:
        """Return a file's numbers by example; ValueError when they are not those that were written."""
        with safe_open(file, framework="pt") as opened:
            content = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            if (opened.metadata() or {}).get("sha256") != tensors_sha256(content):
                raise ValueError("wrong checksum")
        if not all(tensor.isfinite().all() for tensor in content.values()):
            raise ValueError("not finite")
        examples = [bytes(row) for row in content.pop(_EXAMPLES).tolist()]
        lengths = content.pop(_LENGTHS).tolist()
        names = [name for name in content if not name.startswith(_SHAPE)]
        parts = {name: self._split(name, content, lengths) for name in names}
        return {example: {name: part[at] for name, part in parts.items()} for at, example in enumerate(examples)}


def _size(folder: Path) -> int:
    """Return the bytes of the files in a folder; what goes meanwhile counts nothing."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _prune(used: Path) -> None:
    """Delete the least recently used folders beyond LIMIT_BYTES, never `used`, and what killed processes left."""
    for part in used.parent.rglob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # its writer was done just now
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()
    entries = {}
    for entry in used.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):
            entries[entry] = entry.stat().st_mtime
    total = 0
    for entry in sorted(entries, key=lambda entry: (entry == used, entries[entry]), reverse=True):
        total += _size(entry) if entry.is_dir() else entry.stat().st_size
        if total > LIMIT_BYTES and entry != used:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
