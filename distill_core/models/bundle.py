"""Opening a model by its id; a bundled model is first unpacked into an ordinary Hugging Face folder.

The bundle is small because its models share one half-precision BERT, `base.safetensors`, and each stores only what
training changed: for a matrix two bits a weight with one scale a row, at the four levels of least squared error for a
normal distribution (Max 1960, doi 10.1109/TIT.1960.1057548); for the rest half precision.
`scripts/build_bundled_models.py` builds it.
"""

import contextlib
import json
import logging
import secrets
import time
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedModel

from distill_core.catalog.catalog import BUNDLE, BundledModel, ModelInfo, bundled_models, find_model
from distill_core.data.tasks import get_task
from distill_core.errors import ModelError
from distill_core.models.class_order import check_labels
from distill_core.models.encoder import LoadedModel, load_model, remove_folder, save_model
from distill_core.models.layers import keep_layers
from distill_core.storage.model_folder import file_sha256

BASE = "base"
CODES, SCALE = ".codes", ".scale"  # suffixes of the two parts of a changed matrix: (out, in / 4) bytes and (out,)
LEVELS = (-1.510, -0.4528, 0.4528, 1.510)  # in standard deviations of the row
STALE_SECONDS = 3600.0  # age of a partial folder that no running process can own
SHIFTS = (0, 2, 4, 6)  # bit position of each of the four codes in a byte


def open_model(model_id: str, device: str = "cpu", task: str | None = None) -> LoadedModel:
    """Load the model of this id onto a device; ModelError if it is unknown, damaged or not for the task.

    `task`: the task it is opened for; None for the task that its folder names, if any.
    """
    info = find_model(model_id)
    if task and info.task and info.task != task:
        raise ModelError(f"Model {model_id} was trained for task {info.task}; choose one for {task}.")
    unpack(info)
    model = load_model(info.path, model_id, device)
    for name in {task, info.task} - {None, ""}:
        check_labels(model_id, model.labels, str(name))
    return model


def unpack(info: ModelInfo) -> Path:
    """Return a model's plain folder; that of a bundled model is built now if it is missing."""
    if info.kind != "bundled" or info.path.exists():
        return info.path
    entry = bundled_models()[info.id.removeprefix("bundled/")]
    logging.getLogger(__name__).info("unpacking %s into %s", info.id, info.path)
    network = _assemble(entry)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    record = {"task": entry.task, "title": entry.title, "description": entry.description}
    fresh = info.path.with_name(f"{info.path.name}.{secrets.token_hex(4)}")
    try:
        _remove_leftovers(info.path)
        save_model(network, tokenizer, fresh, {**record, "parameters": entry.parameters})
        fresh.rename(info.path)
    except Exception as error:  # OSError, SafetensorError and, from tokenizers, a bare Exception: the disk
        remove_folder(fresh)
        if not info.path.exists():  # else another process has just built the same
            raise ModelError(
                f"Model {info.id} could not be unpacked into {info.path} ({error}). It needs "
                f"{entry.parameters * 4e-6:.0f} MB there: free some space, or set DISTILL_HOME to another disk."
            ) from error
    return info.path


def _remove_leftovers(path: Path) -> None:
    """Delete partial folders of killed processes beside `path`; unpacking takes seconds, so an hour is safe."""
    for rest in path.parent.glob(f"{path.name}.*"):
        with contextlib.suppress(FileNotFoundError):  # another process may have finished or deleted it
            if time.time() - rest.stat().st_mtime > STALE_SECONDS:
                remove_folder(rest)


def _assemble(entry: BundledModel) -> PreTrainedModel:
    labels = get_task(entry.task).labels
    parent = base_network(len(labels)) if entry.parent == BASE else _assemble(bundled_models()[entry.parent])
    network = keep_layers(parent, entry.layers)
    add_update(network, _read_tensors(BUNDLE / entry.file, entry.sha256))
    network.config.id2label = dict(enumerate(labels))
    network.config.label2id = {label: index for index, label in enumerate(labels)}
    return network


def add_update(network: PreTrainedModel, update: dict[str, Tensor]) -> None:
    """Add a stored change to the matrices it has codes for; other entries replace their parameter.

    Raises ModelError for a name that the network lacks.
    """
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, tensor in update.items():
            if name.endswith(SCALE):
                continue
            target = name.removesuffix(CODES)
            if target not in parameters:
                raise ModelError(f"The bundled update has {name}, which the network lacks; reinstall the app.")
            if name.endswith(CODES):
                parameters[target].add_(unpack_change(tensor, update[target + SCALE]))
            else:
                parameters[target].copy_(tensor.float())


def pack_change(change: Float[Tensor, "out in"]) -> tuple[UInt8[Tensor, "out quarter"], Float[Tensor, " out"]]:
    """Return a matrix as two-bit codes, four a byte, and the scale of each row; `in` a multiple of four."""
    scale = change.std(dim=1).half()
    size = (change / scale.float().clamp(min=1e-12)[:, None]).contiguous()
    borders = torch.tensor([(low + high) / 2 for low, high in pairwise(LEVELS)])
    codes = torch.bucketize(size, borders).to(torch.uint8).unflatten(1, (-1, 4))
    return (codes << torch.tensor(SHIFTS, dtype=torch.uint8)).sum(dim=-1).to(torch.uint8), scale


def unpack_change(codes: UInt8[Tensor, "out quarter"], scale: Float[Tensor, " out"]) -> Float[Tensor, "out in"]:
    """Return the matrix that codes and scales encode, float32."""
    four = (codes[:, :, None] >> torch.tensor(SHIFTS, dtype=torch.uint8)) & 3
    return torch.tensor(LEVELS)[four.flatten(1).long()] * scale.float()[:, None]


@cache
def _base_tensors() -> dict[str, Tensor]:
    manifest = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))
    return _read_tensors(BUNDLE / "base.safetensors", manifest["base_sha256"])


def base_network(classes: int) -> PreTrainedModel:
    """Return the shared base as a classifier with a random head; ModelError if it is damaged."""
    config = BertConfig.from_pretrained(BUNDLE / "base_config.json", num_labels=classes)
    network: PreTrainedModel = BertForSequenceClassification(config)
    lacking = network.load_state_dict({k: v.float() for k, v in _base_tensors().items()}, strict=False)
    unexpected = [key for key in lacking.missing_keys if not key.startswith("classifier.")] + lacking.unexpected_keys
    if unexpected:
        raise ModelError(f"The bundled base does not fit its config: {', '.join(unexpected[:4])}; reinstall the app.")
    return network


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"The bundled file {path} is missing; reinstall the app.")
    if file_sha256(path) != sha256:
        raise ModelError(f"The bundled file {path} is damaged (wrong checksum); reinstall the app.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ModelError(f"The bundled file {path} cannot be read ({error}); reinstall the app.") from error
