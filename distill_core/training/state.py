"""The state of a training besides the weights, from which the next step follows: tensors and plain numbers in one file.

It holds the optimizer's moments, the learning rate, the random states and the position in the training. The format is
safetensors with the numbers as JSON in the header, so that reading a file runs no code.
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
    """The state of a training after `step` steps. `numbers`: values that JSON can hold; `tensors`: by name."""

    step: int
    numbers: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def write(self, folder: Path) -> None:
        """Write the state into a folder; errors of the file system are not converted."""
        header = {"format": FORMAT, "state": json.dumps({"step": self.step, **self.numbers})}
        header["sha256"] = tensors_sha256(self.tensors)
        save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, folder / STATE_FILE, header)

    @staticmethod
    def read(folder: Path) -> "TrainingState":
        """Return the state in a folder, tensors on the CPU; RunError if it cannot be read."""
        try:
            with safe_open(folder / STATE_FILE, "pt") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise ValueError(f"format {header.get('format')!r}, not {FORMAT}")
                numbers = parse_json_object(header["state"].encode())
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
                if header.get("sha256", digest := tensors_sha256(tensors)) != digest:  # earlier versions wrote none
                    raise ValueError("its bytes differ from the saved ones")
                if type(step := numbers.pop("step")) is not int:
                    raise ValueError(f"its step is {step!r:.40}")
                return TrainingState(step, numbers, tensors)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"The run cannot be resumed: its training state {folder / STATE_FILE} could not be read ({error}). "
                "Start a new run with the same settings."
            ) from error


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names and values of tensors, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of PyTorch's random number generators, of the CPU and of the device."""
    states = {"random/cpu": torch.get_rng_state()}
    return states | ({"random/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the states that `random_states` returned; a CUDA state is ignored if `device` is not a CUDA device."""
    torch.set_rng_state(states["random/cpu"])
    if device.type == "cuda" and "random/cuda" in states:
        torch.cuda.set_rng_state(states["random/cuda"], device)
