"""Model folders whose weights are a pickle."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


class RunsCommand:
    """An object whose unpickling runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def as_pickle(folder: Path) -> Path:
    """Write a folder's weights into pytorch_model.bin and delete its safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder / "pytorch_model.bin"
