"""Teacher outputs on disk: one folder for each teacher and method, with files that are added and never changed.

Examples are identified by a digest of their contents, so runs on different samples of the same data share the outputs
of common examples. A file is written under a temporary name and renamed, so a killed process leaves only complete
files. Files are mapped into memory, not read: only the parts in use take memory.
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

Outputs = Mapping[str, Tensor]  # of one example, by name; no batch axis, no padding
STALE_SECONDS = 3600.0  # age of a partial file that no running process can still be writing
LIMIT_BYTES = 2 * 1024**3  # of all teachers together; the least recently used are deleted first
_EXAMPLES, _LENGTHS, _SHAPE = "examples", "lengths", "shape/"  # tensors that index a file; no target has these names


class TeacherStore:
    """The stored outputs of one teacher for one method.

    `key` identifies both. `token_axes`: for each output, the axes whose length is the number of the example's tokens.
    """

    def __init__(self, key: str, token_axes: Mapping[str, tuple[int, ...]]) -> None:
        self._folder = home() / "teacher" / hashlib.sha256(f"4 {key}".encode()).hexdigest()
        self._token_axes = token_axes

    def read(self) -> dict[bytes, Outputs]:
        """Return the outputs of all stored examples by digest; damaged files are deleted."""
        stored: dict[bytes, Outputs] = {}
        for file in sorted(self._folder.glob("*.safetensors")):
            try:
                stored |= self._read_file(file)
            except (SafetensorError, KeyError, ValueError):
                file.unlink(missing_ok=True)  # damaged: its examples are computed again
            except (OSError, RuntimeError) as error:  # deleted meanwhile, or no memory to map it: computed again, too
                logging.getLogger(__name__).warning("Stored teacher outputs in %s were not read: %s", file, error)
        with contextlib.suppress(OSError):  # no such folder, or no permission to change it
            os.utime(self._folder)
        return stored

    def add(self, outputs: Mapping[bytes, Outputs]) -> dict[bytes, Outputs]:
        """Store the outputs of one or more examples, and return them as mapped from the new file.

        The oldest files of this teacher are deleted if it alone would exceed LIMIT_BYTES. StoreError if the disk is
        full or the new outputs alone exceed LIMIT_BYTES.
        """
        content = {
            _EXAMPLES: torch.tensor([list(example) for example in outputs], dtype=torch.uint8),
            _LENGTHS: torch.tensor([self._length(one) for one in outputs.values()]),
        }
        for name in next(iter(outputs.values())):
            parts = [one[name] for one in outputs.values()]
            if self._first_axis_only(name):
                content[name] = torch.cat(parts)
            elif name in self._token_axes:  # shapes differ: store the values flat and the shapes beside them
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
            return self._read_file(file)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:  # another process may prune it
            part.unlink(missing_ok=True)
            raise StoreError(
                f"The teacher's outputs could not be stored in {self._folder} ({error}). They are computed again when "
                "they are needed; free disk space or make the folder writable."
            ) from error

    def _make_room(self, wanted: int) -> None:
        """Delete this folder's oldest files until `wanted` more bytes fit; StoreError if they can never fit."""
        if wanted > LIMIT_BYTES:
            raise StoreError(
                f"The teacher's outputs are {wanted / 2**30:.1f} GB, and at most {LIMIT_BYTES / 2**30:.0f} GB are "
                "stored. They are computed again when they are needed; evaluate more often to store fewer at once."
            )
        for file in sorted(self._folder.glob("*.safetensors")):
            if _size(self._folder) + wanted <= LIMIT_BYTES:
                return
            file.unlink(missing_ok=True)

    def _length(self, outputs: Outputs) -> int:
        lengths = (len(values) for name, values in outputs.items() if self._first_axis_only(name))
        return max(lengths, default=0)

    def _first_axis_only(self, name: str) -> bool:
        return self._token_axes.get(name) == (0,)

    def _split(self, name: str, content: Mapping[str, Tensor], lengths: list[int]) -> list[Tensor]:
        """Return the values of each example in the content of a file."""
        values = content[name]
        if self._first_axis_only(name):
            return list(torch.split(values, lengths))
        if name not in self._token_axes:
            return list(values)
        shapes = content[_SHAPE + name].tolist()
        parts = torch.split(values, [math.prod(shape) for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def _read_file(self, file: Path) -> dict[bytes, Outputs]:
        """Return the outputs in a file by example; ValueError if they differ from what was written."""
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
    """Return the bytes of the files in a folder; a file that is deleted meanwhile counts 0."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _prune(used: Path) -> None:
    """Delete partial files of killed processes, and the least recently used folders beyond LIMIT_BYTES, not `used`."""
    for part in used.parent.rglob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # its writer has just renamed it
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
