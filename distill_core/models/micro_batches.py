"""Micro-batches that fit into memory: after running out of memory the work is repeated with half the size."""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from distill_core.errors import RunError

Row = TypeVar("Row")
Result = TypeVar("Result")
# messages of CUDA and MPS, of the CPU's allocators, and of CUDA's matrix library
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cublas_status_alloc_failed")


def split_rows(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Yield the rows in their order, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def map_in_parts(
    rows: Sequence[Row], size: int, work: Callable[[Sequence[Row]], Result], device: torch.device
) -> Iterator[tuple[Sequence[Row], Result]]:
    """Yield the rows, `size` at a time, with the result of `work` on them; fewer at a time once memory has run out."""
    done = 0
    while done < len(rows):
        part = rows[done : done + size]
        result = run_within_memory(partial(work, part), device)
        if result is None:
            size = halve(len(part))
            continue
        yield part, result
        done += len(part)


def run_within_memory(work: Callable[[], Result], device: torch.device) -> Result | None:
    """Return the result of `work`, or None if memory ran out; the random states are then restored.

    Other changes made by `work` are for the caller to undo. Other errors are raised.
    """
    random_cpu = torch.get_rng_state()
    random_cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # frees the graph, which the error referred to
    torch.set_rng_state(random_cpu)
    if random_cuda is not None:
        torch.cuda.set_rng_state(random_cuda, device)
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device has too little memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def halve(size: int) -> int:
    """Return half of a micro-batch's size, at least 1; RunError if it is 1 already."""
    if size == 1:
        raise RunError(
            "The device has too little memory for a single example. Choose a shorter longest input (max_length), "
            "a smaller model, or another device."
        )
    return (size + 1) // 2
