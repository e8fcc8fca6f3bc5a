"""All that the next step of a training depends on besides the weights: one file of tensors and plain numbers.

Moments of the optimizer, learning rate, random states, where the training is. Safetensors with the numbers as JSON in
its header, so that reading one runs no code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distill_core.errors import RunError
from distill_core.json_file import parse_json_object
from distill_core.paths import STATE_FILE

FORMAT = "1"


@dataclass(frozen=True)
class TrainingState:
    """A training as it is after `step` steps. `numbers`: plain values, as JSON has them; `tensors`: by name."""

    step: int
    numbers: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def write(self, folder: Path) -> None:
        """Write it into a folder; an error of the file system is raised as it is."""
        told = {"format": FORMAT, "state": json.dumps({"step": self.step, **self.numbers})}
        told["sha256"] = tensors_sha256(self.tensors)
        save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, folder / STATE_FILE, told)

    @staticmethod
    def read(folder: Path) -> "TrainingState":
        """Return what a folder holds, tensors on the CPU; RunError where it cannot be read."""
        try:
            with safe_open(folder / STATE_FILE, "pt") as file:
                told = file.metadata() or {}
                if told.get("format") != FORMAT:
                    raise ValueError(f"format {told.get('format')!r}, not {FORMAT}")
                numbers = parse_json_object(told["state"].encode())
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                if told.get("sha256", digest := tensors_sha256(tensors)) != digest:  # earlier versions wrote none
                    raise ValueError("its bytes are not those that were saved")
                if type(step := numbers.pop("step")) is not int:
                    raise ValueError(f"its step is {step!r:.40}")
                return TrainingState(step, numbers, tensors)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"The run cannot go on from {folder / STATE_FILE} ({error}). Start it again from the beginning."
            ) from error


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors on the CPU, names and values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of PyTorch's random numbers, on the CPU and on the device."""
    states = {"random/cpu": torch.get_rng_state()}
    return states | ({"random/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set what `random_states` returned; that of a device which is not here is left out."""
    torch.set_rng_state(states["random/cpu"])
    if device.type == "cuda" and "random/cuda" in states:
        torch.cuda.set_rng_state(states["random/cuda"], device)
