"""Devices: what `auto` means is found without torch and agrees with torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill_core import devices
from distill_core.devices import DEVICES, devices_for, usable_devices
from distill_core.errors import ConfigError


def test_the_probe_agrees_with_torch() -> None:
    import torch

    several = torch.cuda.device_count() > 1
    gpus = [f"cuda:{at}" if several else "cuda" for at in range(torch.cuda.device_count())]
    expected = gpus + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    assert list(usable_devices()) == expected


def test_auto_is_the_fastest_and_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_devices", lambda: ("cuda", "cpu"))
    assert [devices_for(name) for name in ("auto", "cuda", "cpu")] == [("cuda",), ("cuda",), ("cpu",)]
    with pytest.raises(ConfigError, match="'mps' cannot be used on this machine; choose one of: auto, cuda, cpu"):
        devices_for("mps")


def test_several_gpus_are_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_torch_has_cuda", lambda: True)
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 2)
    monkeypatch.setattr(devices, "usable_devices", usable_devices.__wrapped__)
    gpus = ("cuda:0", "cuda:1")
    assert [devices_for(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == [gpus, gpus, ("cuda:1",), ("cpu",)]
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 1)
    assert [devices_for(name) for name in ("cuda", "cuda:0")] == [("cuda",), ("cuda",)]  # as torch calls it, too
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 2)
    with pytest.raises(ConfigError, match="'cuda:2' cannot be used on this machine"):
        devices_for("cuda:2")
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 100)
    assert set(devices.usable_devices()) < set(DEVICES)
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 0)
    assert "cuda" not in {device.split(":")[0] for device in devices.usable_devices()}


@pytest.mark.parametrize(
    ("build", "expected"), [("cuda: Optional[str] = '13.0'", True), ("cuda: Optional[str] = None", False)]
)
def test_a_torch_built_without_cuda_is_told_apart(tmp_path: Path, build: str, expected: bool) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    (tmp_path / "torch" / "version.py").write_text(f"from typing import Optional\n{build}\n")
    code = "from distill_core import devices; print(devices._torch_has_cuda())"
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(devices.__file__).parent.parent}"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == str(expected)
