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


@cache
def usable_devices() -> tuple[str, ...]:
    """Return the devices of this machine, fastest first; the last is always `cpu`."""
    found = []
    if _torch_has_cuda() and _cuda_device_count() > 0:
        found.append("cuda")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found.append("mps")
    return (*found, "cpu")


def resolve_device(name: str) -> str:
    """Return the device a run asking for `name` gets; ConfigError for one this machine does not have."""
    usable = usable_devices()
    if name == "auto":
        return usable[0]
    if name not in usable:
        raise ConfigError(f"Device {name!r} cannot be used on this machine; choose one of: auto, {', '.join(usable)}.")
    return name


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
