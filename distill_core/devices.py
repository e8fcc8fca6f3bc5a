"""Which devices a run can use here, found without importing torch.

The queue must know what `auto` means before any process has loaded torch. So the build of torch is
read from its version file, and the NVIDIA driver is asked through its C library. The worker, which
has torch, meets a device that turns out unusable with an error of its own.
"""

import ctypes
import platform
import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from distill_core.errors import ConfigError

MOST_GPUS = 8  # of one machine
DEVICES = ("auto", "cpu", "cuda", *(f"cuda:{at}" for at in range(MOST_GPUS)), "mps")  # what can be asked for


@cache
def usable_devices() -> tuple[str, ...]:
    """Return the devices of this machine, fastest first; the last is always `cpu`.

    One GPU is `cuda`; several are `cuda:0`, `cuda:1` and so on.
    """
    count = min(_cuda_device_count(), MOST_GPUS) if _torch_has_cuda() else 0
    devices = ["cuda"] if count == 1 else [f"cuda:{at}" for at in range(count)]
    if sys.platform == "darwin" and platform.machine() == "arm64":
        devices.append("mps")
    return (*devices, "cpu")


def devices_for(name: str) -> tuple[str, ...]:
    """Return the devices a run that asks for `name` may get, all of one kind; ConfigError where there is none here.

    `auto`: all of the fastest kind; `cuda`: every GPU.
    """
    usable = usable_devices()
    wanted = kind_of(usable[0]) if name == "auto" else name
    matching = tuple(device for device in usable if wanted == kind_of(device) or card_of(wanted) == card_of(device))
    if not matching:
        raise ConfigError(f"Device {name!r} cannot be used on this machine; choose one of: auto, {', '.join(usable)}.")
    return matching


def card_of(device: str) -> str:
    """Return a device as the card it is: the only GPU of a machine is that of index 0."""
    return "cuda:0" if device == "cuda" else device


def kind_of(device: str) -> str:
    """Return what kind of device one is: `cpu`, `cuda` or `mps`."""
    return device.split(":")[0]


def device_title(device: str) -> str:
    """Return a device's name as it is shown: CPU, CUDA, CUDA 1, MPS, or Automatic for `auto`."""
    return "Automatic" if device == "auto" else device.upper().replace(":", " ")


def _torch_has_cuda() -> bool:
    """Say whether the installed torch was built for CUDA, by its version file."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.is_file() and re.search(r"^cuda\b[^=]*=\s*['\"]", version.read_text(), re.MULTILINE) is not None


def _cuda_device_count() -> int:
    """Return how many devices the NVIDIA driver offers this process, 0 without a working driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
