"""Devices: what `auto` means is found without torch and agrees with torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from distill_core import devices
from distill_core.devices import resolve_device, usable_devices
from distill_core.errors import ConfigError


def test_the_probe_agrees_with_torch() -> None:
    import torch

    expected = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    assert list(usable_devices()) == expected


def test_auto_is_the_fastest_and_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "usable_devices", lambda: ("cuda", "cpu"))
    assert [resolve_device(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
    with pytest.raises(ConfigError, match="'mps' cannot be used on this machine; choose one of: auto, cuda, cpu"):
        resolve_device("mps")


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
