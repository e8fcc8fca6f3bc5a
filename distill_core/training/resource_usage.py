"""Resource usage of a training, sampled at intervals: processors, memory and GPU."""

import time

import psutil
import torch

from distill_core.runs.metric_names import CPU_PERCENT, GPU_MEMORY_MB, GPU_PERCENT, MEMORY_FREE_MB

EVERY_SECONDS = 1.0  # shortest interval between two samples


class Usage:
    """Samples the resources this process uses.

    `cpu_percent`: of all the machine's cores, on average since the previous sample; `memory_free_mb`: memory that is
    available to other programs. On CUDA devices also `gpu_percent`, the share of time in which the device computed (for
    any process), if the driver's library (nvidia-ml-py) is installed, and `gpu_memory_mb`, the device memory that this
    process has reserved.
    """

    def __init__(self, device: torch.device) -> None:
        """Start measuring."""
        self._device, self._gpu_readable = device, device.type == "cuda"
        self._process, self._cores = psutil.Process(), psutil.cpu_count() or 1
        self._sampled_at, self._cpu_before = time.perf_counter(), self._cpu_seconds()
        self._first = True

    def due(self) -> bool:
        """Tell whether a sample is due: the first one is, the next ones EVERY_SECONDS after the previous one."""
        return self._first or time.perf_counter() - self._sampled_at >= EVERY_SECONDS

    def sample(self) -> dict[str, float]:
        """Return the current usage by metric name, without the metrics that cannot be read."""
        now, cpu_seconds = time.perf_counter(), self._cpu_seconds()
        elapsed = now - self._sampled_at
        usage = {MEMORY_FREE_MB: psutil.virtual_memory().available / 1e6}
        if elapsed > 0:
            usage[CPU_PERCENT] = 100 * (cpu_seconds - self._cpu_before) / elapsed / self._cores
        self._sampled_at, self._cpu_before, self._first = now, cpu_seconds, False
        if self._device.type == "cuda":
            usage[GPU_MEMORY_MB] = torch.cuda.memory_reserved(self._device) / 1e6
        return usage | self._gpu()

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _gpu(self) -> dict[str, float]:
        """Return the utilization of the device; after the first failure it is not read again."""
        if self._gpu_readable:
            try:
                return {GPU_PERCENT: float(torch.cuda.utilization(self._device))}
            except Exception:  # no library, no such reading on this driver, or one of the library's own error classes
                self._gpu_readable = False
        return {}


def memory_mb(device: torch.device) -> float:
    """Return the peak memory of the device in MB: CUDA's allocator, else this process' resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6
