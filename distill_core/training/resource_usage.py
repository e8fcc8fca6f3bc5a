"""What a training takes of the machine: processors, memory, and the GPU where it has one; looked at now and then."""

import time

import psutil
import torch

from distill_core.runs.metric_names import CPU_PERCENT, GPU_MEMORY_MB, GPU_PERCENT, MEMORY_FREE_MB

EVERY_SECONDS = 1.0  # at the most often


class Usage:
    """Looks at what this process takes of the machine.

    `cpu_percent`: of all the machine's cores, on average since the look before; `memory_free_mb`: what other programs
    could still have; on CUDA devices `gpu_percent`, the share of time in which the device computed (for whomever), as
    far as the driver's library (nvidia-ml-py) is installed, and `gpu_memory_mb`, what this process holds of its memory.
    """

    def __init__(self, device: torch.device) -> None:
        """Begin to count now."""
        self._device, self._asks = device, device.type == "cuda"
        self._process, self._cores = psutil.Process(), psutil.cpu_count() or 1
        self._looked, self._worked = time.perf_counter(), self._cpu_seconds()
        self._first = True

    def due(self) -> bool:
        """Say whether it is time for a look: at first, and EVERY_SECONDS after the one before."""
        return self._first or time.perf_counter() - self._looked >= EVERY_SECONDS

    def look(self) -> dict[str, float]:
        """Return what is taken now, by name; what cannot be had is left out."""
        now, worked = time.perf_counter(), self._cpu_seconds()
        passed = now - self._looked
        found = {MEMORY_FREE_MB: psutil.virtual_memory().available / 1e6}
        if passed > 0:
            found[CPU_PERCENT] = 100 * (worked - self._worked) / passed / self._cores
        self._looked, self._worked, self._first = now, worked, False
        if self._device.type == "cuda":
            found[GPU_MEMORY_MB] = torch.cuda.memory_reserved(self._device) / 1e6
        return found | self._gpu()

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _gpu(self) -> dict[str, float]:
        """Ask the driver how busy the device is; once it cannot tell it is not asked again."""
        if self._asks:
            try:
                return {GPU_PERCENT: float(torch.cuda.utilization(self._device))}
            except Exception:  # no library, a driver that does not tell, and what the library calls its own errors
                self._asks = False
        return {}


def memory_mb(device: torch.device) -> float:
    """Return the peak memory of the device in MB: CUDA's allocator, else this process' resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6
