"""The teacher's logits and signals for a training set: each example computed once, kept over epochs and runs.

A batch whose examples are all known costs no teacher call. The file is a safetensors file named by a
digest of everything the numbers depend on, written in one step, so a killed run leaves the old or the new.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distill_core.encoding import Encoded, Inputs
from distill_core.models import LoadedModel, embed, logits_and_states
from distill_core.objectives import ForwardPass, Method, Signal
from distill_core.paths import home

STALE_SECONDS = 3600.0  # nobody writes one file for so long
_SIGNAL = "signal/"  # begins the name of each part of the signals in a file
LIMIT_BYTES = 2 * 1024**3  # of all teacher files together; the least recently used leave first


class TeacherCache:
    """The teacher's side of distillation for one training set; `calls` counts its forward passes."""

    def __init__(
        self, teacher: LoadedModel, method: Method | None, rows: Sequence[Encoded], labels: Shaped[Tensor, " example"]
    ) -> None:
        self._teacher = teacher
        self._method = method
        self._path = home() / "teacher" / f"{_key(teacher, method, rows, labels)}.safetensors"
        self._logits: list[Tensor | None] = [None] * len(rows)
        self._signals: list[Signal] = [{}] * len(rows)  # by token: (its length, …), else without a batch axis
        self._lengths = [len(row.ids) for row in rows]
        self._unsaved = 0
        self.calls = 0
        self._read()

    @property
    def known(self) -> int:
        """Number of examples whose teacher numbers are at hand."""
        return sum(row is not None for row in self._logits)

    def batch(
        self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch class"], Signal]:
        """Return the teacher's logits and the method's signal for the examples `rows`, padded as `inputs` is."""
        if any(self._logits[row] is None for row in rows):
            self._compute(rows, inputs, labels)
        device = inputs.input_ids.device
        logits = torch.stack([_given(self._logits[row]) for row in rows]).to(device)
        stored = [self._signals[row] for row in rows]
        signal = {}
        for name in stored[0]:
            parts = [row[name] for row in stored]
            whole = _padded(parts, inputs.input_ids.shape[1]) if self._by_token(name) else torch.stack(parts)
            signal[name] = whole.to(device)
        return logits, signal

    def save(self) -> None:
        """Write what is known to disk, if anything is new; a full disk costs the file, never the run."""
        if not self._unsaved:
            return
        try:
            self._write()
        except (OSError, SafetensorError) as error:
            logging.getLogger(__name__).warning("the teacher's numbers could not be kept: %s", error)

    def _write(self) -> None:
        rows = [row for row, logits in enumerate(self._logits) if logits is not None]
        content = {"rows": torch.tensor(rows), "logits": torch.stack([_given(self._logits[row]) for row in rows])}
        if self._method is not None:
            content["lengths"] = torch.tensor([self._lengths[row] for row in rows])
            for name in self._signals[rows[0]]:
                parts = [self._signals[row][name] for row in rows]
                content[_SIGNAL + name] = torch.cat(parts) if self._by_token(name) else torch.stack(parts)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        save_file(content, part, metadata={"sha256": _digest(content)})
        part.replace(self._path)
        self._unsaved = 0
        _prune(self._path.parent)

    def _compute(self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]) -> None:
        self.calls += 1
        forward = teacher_pass(self._teacher, inputs, labels, needs_graph=self._method is not None)
        logits = forward.logits.detach().float().cpu()
        found = self._method.signal(forward) if self._method is not None else {}
        signal = {name: values.float().cpu() for name, values in found.items()}
        for index, row in enumerate(rows):
            self._logits[row] = logits[index].clone()
            self._signals[row] = {
                name: (values[index, : self._lengths[row]] if self._by_token(name) else values[index]).clone()
                for name, values in signal.items()
            }
        self._unsaved += len(rows)

    def _by_token(self, name: str) -> bool:
        return self._method is not None and name in self._method.by_token

    def _read(self) -> None:
        if not self._path.is_file():
            return
        try:
            content = _read_checked(self._path)
            rows = content["rows"].tolist()
            logits = dict(zip(rows, content["logits"], strict=True))
            signals: dict[int, dict[str, Tensor]] = {row: {} for row in rows}
            for key in [key for key in content if key.startswith(_SIGNAL)]:
                name = key.removeprefix(_SIGNAL)
                parts = content[key].split(content["lengths"].tolist()) if self._by_token(name) else content[key]
                for row, values in zip(rows, parts, strict=True):
                    signals[row][name] = values
            os.utime(self._path)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
            self._path.unlink(missing_ok=True)  # a cache is never worth a failed run: drop it, compute again
            return
        for row, values in logits.items():
            self._logits[row] = values
        for row, values in signals.items():
            self._signals[row] = values


def teacher_pass(
    teacher: LoadedModel, inputs: Inputs, labels: Shaped[Tensor, " batch"], *, needs_graph: bool
) -> ForwardPass:
    """Run the teacher on a batch; with `needs_graph`, E and logits can be differentiated (weights never)."""
    with torch.set_grad_enabled(needs_graph):
        embeddings = embed(teacher.network, inputs).detach().requires_grad_(needs_graph)
        logits, states = logits_and_states(teacher.network, embeddings, inputs)
    return ForwardPass(embeddings, logits, inputs.mask, labels, states)


def _padded(parts: Sequence[Tensor], tokens: int) -> Tensor:
    """Stack what is as long as its text, 0 behind it up to so many tokens."""
    whole = parts[0].new_zeros(len(parts), tokens, *parts[0].shape[1:])
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return whole


def _digest(content: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(content):
        digest.update(name.encode() + content[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_checked(path: Path) -> dict[str, Tensor]:
    """Return a file's tensors; ValueError when they are not those that were written."""
    with safe_open(path, framework="pt") as file:
        content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if (file.metadata() or {}).get("sha256") != _digest(content):
            raise ValueError("wrong checksum")
    return content


def _given(row: Tensor | None) -> Tensor:
    assert row is not None
    return row


def _key(
    teacher: LoadedModel, method: Method | None, rows: Sequence[Encoded], labels: Shaped[Tensor, " example"]
) -> str:
    digest = hashlib.sha256(f"2 {teacher.fingerprint} {method!r}".encode())
    for row, label in zip(rows, labels.tolist(), strict=True):
        digest.update(f"{row.ids}{row.types}{label}".encode())
    return digest.hexdigest()


def _prune(folder: Path) -> None:
    """Delete the least recently used files beyond LIMIT_BYTES, and what killed processes left half-written."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # its writer was done just now
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()
    files = sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > LIMIT_BYTES:
            file.unlink(missing_ok=True)
