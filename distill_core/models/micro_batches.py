"""Parts of a batch small enough for memory: what runs out is tried again with parts half as large."""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from distill_core.errors import RunError

Row = TypeVar("Row")
Result = TypeVar("Result")
# CUDA and MPS; the CPU's allocators; CUDA's library of matrix products
_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cublas_status_alloc_failed")


def split_rows(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield the rows in their order, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def map_in_parts(
    rows: Sequence[Row], size: int, work: Callable[[Sequence[Row]], Result], device: torch.device
) -> Iterator[tuple[Sequence[Row], Result]]:
    """Yield the rows, `size` at a time, with what some work makes of them; fewer at a time once memory has run out."""
    done = 0
    while done < len(rows):
        part = rows[done : done + size]
        found = run_within_memory(partial(work, part), device)
        if found is None:
            size = halve(len(part))
            continue
        yield part, found
        done += len(part)


def run_within_memory(work: Callable[[], Result], device: torch.device) -> Result | None:
    """Do some work and return its result; None where memory ran out, with the random numbers as they were before.

    What the work has changed but for random numbers is the caller's to undo. Other errors are raised.
    """
    drawn = torch.get_rng_state()
    drawn_there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # the graph goes with the error, which is gone here
    torch.set_rng_state(drawn)
    if drawn_there is not None:
        torch.cuda.set_rng_state(drawn_there, device)
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error of PyTorch means that a device has too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


def halve(size: int) -> int:
    """Return half of a part, one example at least; RunError where it is one already."""
    if size == 1:
        raise RunError(
            "The device has too little memory for a single example. Choose a shorter longest input (max_length), "
            "a smaller model, or another device."
        )
    return (size + 1) // 2
