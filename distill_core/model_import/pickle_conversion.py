"""Conversion of a pickle to safetensors: `python -m distill_core.model_import.pickle_conversion SOURCE TARGET`.

Reading a pickle can run code. So it is read in a separate process, by PyTorch's restricted unpickler, which creates
only tensors and plain containers, with limited memory and time; the caller never reads it. The process ends when its
stdin is closed, which the system does if the caller is killed.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from distill_core.errors import ModelError
from distill_core.model_import.progress import ImportStep
from distill_core.paths import CODE
from distill_core.shell_command import python

if TYPE_CHECKING:
    from torch import Tensor

COMMAND: tuple[str, ...] = (python(), "-m", "distill_core.model_import.pickle_conversion")
SECONDS = 900.0  # a gigabyte takes half a minute on a slow disk
SPARE_BYTES = 2**30  # of memory beyond the copies of the weights
COPIES = 4  # of the weights in memory at most: as read, contiguous, and two while writing
TOO_MUCH = "it takes more memory than a file of its size should."
REFUSED = 3  # exit code of a process that printed why it refused


def convert(source: Path, target: Path) -> Generator[ImportStep, None, None]:
    """Write a pickled checkpoint's tensors to `target` as safetensors, all or nothing; yield progress.

    The process ends when the generator is closed. Raises ModelError with the reason if the file has anything
    but named tensors, is damaged, or takes too much memory or time.
    """
    what, total = f"Converting {source.name}", source.stat().st_size
    part = _part(target)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            (*COMMAND, str(source.resolve()), str(target.resolve())),
            cwd=CODE, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + SECONDS
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise ModelError(
                        f"{source} was not converted within {SECONDS:.0f} seconds; close other programs and try again."
                    )
                yield ImportStep(what, min(_written(part, target), total), total)
                _wait(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()  # closes the pipe that it ends with, too
            part.unlink(missing_ok=True)
        output.seek(0)
        _check_result(source, process.returncode, output.read().decode(errors="replace"))
    yield ImportStep(what, total, total)


def _written(*places: Path) -> int:
    """Return the size of the first of these files that exists, 0 if none does."""
    for place in places:
        with contextlib.suppress(FileNotFoundError):  # not created yet, or just renamed to the next
            return place.stat().st_size
    return 0


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait at most a fifth of a second for a process to end."""
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return


def _check_result(source: Path, code: int, output: str) -> None:
    """Raise ModelError with the reason unless the process has succeeded."""
    reason = " ".join((output.strip().splitlines() or ["nothing"])[-1:])[:400]
    if code == REFUSED:
        raise ModelError(f"{source} is not converted: {reason}")
    if code < 0:
        raise ModelError(
            f"{source} is not converted: the process that reads it was killed (signal {-code}), by a user, or by the "
            "system for lack of memory. Close other programs and try again."
        )
    if code:
        raise ModelError(f"{source} is not converted: the process that reads it ended with code {code}: {reason}")


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def main(source: Path, target: Path) -> int:
    """Convert in this process and return its exit code; REFUSED after printing why."""
    import torch

    try:
        _limit(SPARE_BYTES + COPIES * source.stat().st_size)
        tensors = _named_tensors(torch.load(source, weights_only=True, map_location="cpu"))
        _write(tensors, target)
    except ModelError as error:
        print(error)
    except MemoryError:
        print(TOO_MUCH)
    except Exception as error:  # the unpickler raises errors of many classes
        print(_reason(str(error)))
    else:
        return 0
    return REFUSED


def _write(tensors: "dict[str, Tensor]", target: Path) -> None:
    """Write safetensors, all or nothing; ModelError if they cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    part = _part(target)
    try:
        save_file(tensors, part, metadata={"format": "pt"})
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{target} cannot be written ({error}); free some space on that disk.") from error


def _end_with_caller() -> None:
    """End this process when its stdin is closed: its caller is gone."""
    while os.read(0, 1):
        pass
    print("its stdin was closed by the process that started it.", flush=True)
    os._exit(REFUSED)


def _limit(more: int) -> None:
    """Limit this process to `more` bytes of address space beyond its present size, and to SECONDS."""
    import resource
    import signal

    import psutil

    most = psutil.Process().memory_info().vms + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.alarm(int(SECONDS))  # the caller has the same limit, unless it is stopped


def _named_tensors(content: object) -> "dict[str, Tensor]":
    """Return contiguous copies, without shared memory; ModelError for anything but plain tensors by name."""
    import torch

    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"it holds a {type(content).__name__}; wanted a mapping of weight names to tensors.")
    for name, value in content.items():
        if name == "__metadata__":
            raise ModelError(f"it has a tensor named {name}, which safetensors cannot hold; rename it and save again.")
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"its entry {name!r:.80} is a {type(value).__name__}; wanted a flat mapping of weight names to "
                "tensors. Save the model's state_dict() alone."
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise ModelError(f"its tensor {name!r:.80} is sparse, quantised or empty; save it as plain numbers.")
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in content.items()}


def _reason(error: str) -> str:
    """Return the unpickler's error as one line."""
    forbidden = re.search(r"GLOBAL ([\w.]+)", error)
    if forbidden:
        return f"its pickle asks for {forbidden[1]}, which is not a tensor and could run code. Do not use this file."
    if "can't allocate memory" in error or "not enough memory" in error:
        return TOO_MUCH
    operand = re.search(r"Unsupported \w+ \w+", error)
    return f"it is damaged or not a PyTorch checkpoint ({operand[0] if operand else ' '.join(error.split())[:200]})."


if __name__ == "__main__":
    threading.Thread(target=_end_with_caller, daemon=True).start()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
