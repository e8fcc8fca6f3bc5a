"""Resource usage of a training: sampled at most once a second; metrics that cannot be read are left out."""

from collections.abc import Callable

import psutil
import pytest
import torch

from distill_core.training.resource_usage import EVERY_SECONDS, Usage

GPU = torch.device("cuda")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what moves the time on."""
    now = [100.0]
    monkeypatch.setattr("distill_core.training.resource_usage.time.perf_counter", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_cpu_percent_is_averaged_since_the_previous_sample(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    worked = [50.0]
    monkeypatch.setattr(Usage, "_cpu_seconds", lambda _: worked[0])
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    usage = Usage(torch.device("cpu"))
    shares = []
    for seconds, more in ((10.0, 20.0), (2.0, 8.0), (5.0, 0.0)):
        clock(seconds)
        worked[0] += more
        shares.append(usage.sample()["cpu_percent"])
    assert shares == [50.0, 100.0, 0.0]


def test_a_sample_is_due_at_first_and_then_once_a_second(clock: Callable[[float], None]) -> None:
    usage = Usage(torch.device("cpu"))
    assert usage.due()
    usage.sample()
    assert not usage.due()
    clock(EVERY_SECONDS / 2)
    assert not usage.due()
    clock(EVERY_SECONDS)
    assert usage.due()


def test_real_work_is_measured() -> None:
    usage = Usage(torch.device("cpu"))
    a = torch.rand(300, 300)
    for _ in range(50):
        a = a @ a / 100
    found = usage.sample()
    assert found.keys() == {"cpu_percent", "memory_free_mb"}
    assert 0 < found["cpu_percent"] <= 101
    assert 0 < found["memory_free_mb"] <= psutil.virtual_memory().total / 1e6


def test_gpu_utilization_and_memory_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3_000_000)
    monkeypatch.setattr(torch.cuda, "utilization", lambda _: 73)
    found = Usage(GPU).sample()
    assert (found["gpu_percent"], found["gpu_memory_mb"]) == (73.0, 3.0)


def test_a_gpu_without_utilization_is_read_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(device: torch.device) -> int:
        asked.append(device)
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3_000_000)
    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    usage = Usage(GPU)
    assert "gpu_percent" not in usage.sample()
    assert "gpu_percent" not in usage.sample()
    assert asked == [GPU]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_real_gpu() -> None:
    usage = Usage(GPU)
    held = torch.zeros(1_000_000, device=GPU)
    found = usage.sample()
    assert found["gpu_memory_mb"] >= held.nbytes / 1e6
    assert 0 <= found.get("gpu_percent", 0) <= 100
