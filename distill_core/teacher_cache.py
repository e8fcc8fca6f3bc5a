"""The teacher's logits and maps for a training set: each example computed once, kept over epochs and runs.

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
from distill_core.models import LoadedModel, embed, logits_from_embeddings
from distill_core.objectives import ForwardPass, Method
from distill_core.paths import home

STALE_SECONDS = 3600.0  # nobody writes one file for so long
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
        self._signals: list[Tensor | None] = [None] * len(rows)
        self._unsaved = 0
        self.calls = 0
        self._read()

    @property
    def known(self) -> int:
        """Number of examples whose teacher numbers are at hand."""
        return sum(row is not None for row in self._logits)

    def batch(
        self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch class"], Float[Tensor, "batch view token"] | None]:
        """Return the teacher's logits and method signal for the examples `rows`, padded as `inputs` is."""
        if any(self._logits[row] is None for row in rows):
            self._compute(rows, inputs, labels)
        device = inputs.input_ids.device
        logits = torch.stack([_given(self._logits[row]) for row in rows]).to(device)
        if self._method is None:
            return logits, None
        stored = [_given(self._signals[row]) for row in rows]  # each (V, its length)
        signal = torch.zeros(len(rows), stored[0].shape[0], inputs.input_ids.shape[1])
        for index, row in enumerate(stored):
            signal[index, :, : row.shape[1]] = row
        return logits, signal.to(device)

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
            signals = [_given(self._signals[row]) for row in rows]
            content["lengths"] = torch.tensor([signal.shape[1] for signal in signals])
            content["signals"] = torch.cat(signals, dim=1).contiguous()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        save_file(content, part, metadata={"sha256": _digest(content)})
        part.replace(self._path)
        self._unsaved = 0
        _prune(self._path.parent)

    def _compute(self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]) -> None:
        self.calls += 1
        forward = teacher_pass(self._teacher, inputs, labels, needs_graph=self._method is not None)
        lengths = inputs.attention_mask.sum(dim=1).tolist()
        signal = None if self._method is None else self._method.signal(forward).float().cpu()
        logits = forward.logits.detach().float().cpu()
        for index, row in enumerate(rows):
            self._logits[row] = logits[index].clone()
            if signal is not None:
                self._signals[row] = signal[index, :, : lengths[index]].clone()
        self._unsaved += len(rows)

    def _read(self) -> None:
        if not self._path.is_file():
            return
        try:
            content = _read_checked(self._path)
            rows = content["rows"].tolist()
            logits = dict(zip(rows, content["logits"], strict=True))
            signals = {}
            if self._method is not None:
                signals = dict(zip(rows, content["signals"].split(content["lengths"].tolist(), dim=1), strict=True))
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
        logits = logits_from_embeddings(teacher.network, embeddings, inputs)
    return ForwardPass(embeddings, logits, inputs.mask, labels)


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
    digest = hashlib.sha256(f"1 {teacher.fingerprint} {method!r}".encode())
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
