"""Parts of a batch, and what happens when memory runs out."""

from collections.abc import Sequence

import pytest
import torch

from distill_core.errors import RunError
from distill_core.models.micro_batches import halve, is_out_of_memory, map_in_parts, split_rows

CPU = torch.device("cpu")


def test_all_rows_are_returned_in_order() -> None:
    assert list(split_rows(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert [list(part) for part, _ in map_in_parts(range(7), 3, len, CPU)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize(("memory", "wanted"), [(1, [1] * 7), (2, [2, 2, 2, 1]), (4, [3, 3, 1]), (9, [5, 2])])
def test_a_part_too_large_for_memory_is_halved_without_loss(memory: int, wanted: list[int]) -> None:
    def work(rows: Sequence[int]) -> list[int]:
        if len(rows) > memory:
            raise MemoryError
        return [row * row for row in rows]

    found = list(map_in_parts(range(7), 5, work, CPU))
    assert [len(part) for part, _ in found] == wanted
    assert [square for _, squares in found for square in squares] == [row * row for row in range(7)]


@pytest.mark.parametrize(("size", "half"), [(2, 1), (3, 2), (5, 3), (32, 16)])
def test_half_of_a_part(size: int, half: int) -> None:
    assert halve(size) == half


def test_a_single_example_too_large_for_memory_is_refused() -> None:
    with pytest.raises(RunError, match="too little memory for a single example"):
        list(map_in_parts([1], 1, lambda _: too_large(), CPU))


def too_large() -> int:
    raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 2 GiB",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "DefaultCPUAllocator: not enough memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "MPS backend out of memory",
    ],
)
def test_out_of_memory_errors_of_devices_are_recognised(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError(words))
