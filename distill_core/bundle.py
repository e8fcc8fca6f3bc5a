"""Open a model by id; a bundled one is unpacked first, into an ordinary Hugging Face folder.

The bundle is small because its models share one half-precision BERT, `base.safetensors`; each adds a
low-rank update W + B·A (the form of LoRA: Hu et al. 2021, arXiv 2106.09685) to its parent's first layers,
biases, norms and a classifier. `scripts/build_bundled_models.py` makes it.
"""

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PreTrainedModel

from distill_core.catalogue import BUNDLE, BundledModel, ModelInfo, bundled_models, find_model
from distill_core.errors import ModelError
from distill_core.models import LoadedModel, file_sha256, keep_layers, load_model, remove_folder, save_model
from distill_core.tasks import get_task

BASE = "base"
DOWN, UP = ".lora_A", ".lora_B"  # endings of the two factors, (rank, in) and (out, rank)


def open_model(model_id: str, device: str = "cpu") -> LoadedModel:
    """Load the model of this id onto a device; ModelError when it is unknown or damaged."""
    info = find_model(model_id)
    unpack(info)
    model = load_model(info.path, model_id, device)
    _check_labels(model, info)
    return model


def unpack(info: ModelInfo) -> Path:
    """Make sure a model's plain folder exists (a bundled one is built now if missing) and return it."""
    if info.kind != "bundled" or info.path.exists():
        return info.path
    entry = bundled_models()[info.id.removeprefix("bundled/")]
    logging.getLogger(__name__).info("unpacking %s into %s", info.id, info.path)
    network = _assemble(entry)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    record = {"task": entry.task, "title": entry.title, "description": entry.description}
    fresh = info.path.with_name(f"{info.path.name}.{torch.randint(2**31, ()).item():08x}")
    save_model(network, tokenizer, fresh, {**record, "parameters": entry.parameters})
    try:
        fresh.rename(info.path)
    except OSError:  # another process was first; its folder is as good
        remove_folder(fresh)
        if not info.path.exists():
            raise
    return info.path


def _assemble(entry: BundledModel) -> PreTrainedModel:
    parent = base_network() if entry.parent == BASE else _assemble(bundled_models()[entry.parent])
    network = keep_layers(parent, entry.layers)
    add_low_rank(network, _read_tensors(BUNDLE / entry.file, entry.sha256))
    labels = get_task(entry.task).labels
    network.config.id2label = dict(enumerate(labels))
    network.config.label2id = {label: index for index, label in enumerate(labels)}
    return network


def add_low_rank(network: PreTrainedModel, update: dict[str, Tensor]) -> None:
    """Add B·A to every weight that `update` has factors for; other entries replace their parameter.

    Raises ModelError when a name or a shape does not fit.
    """
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, tensor in update.items():
            if name.endswith(UP):
                continue
            target = f"{name.removesuffix(DOWN)}.weight" if name.endswith(DOWN) else name
            if target not in parameters:
                raise ModelError(f"The bundled update has {name}, which the network lacks; reinstall the app.")
            if name.endswith(DOWN):
                up = update[name.removesuffix(DOWN) + UP]
                parameters[target].add_(up.float() @ tensor.float())
            else:
                parameters[target].copy_(tensor.float())


@cache
def _base_tensors() -> dict[str, Tensor]:
    manifest = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))
    return _read_tensors(BUNDLE / "base.safetensors", manifest["base_sha256"])


def base_network() -> PreTrainedModel:
    """Return the shared base as a classifier whose head is still random; ModelError when it is damaged."""
    config = BertConfig.from_pretrained(BUNDLE / "base_config.json")
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


def _check_labels(model: LoadedModel, info: ModelInfo) -> None:
    """Refuse a model whose class names are the task's in another order: its answers would be misread."""
    if not info.task:
        return
    wanted: tuple[Any, ...] = get_task(info.task).labels
    if model.labels != wanted and sorted(map(str.lower, model.labels)) == sorted(wanted):
        raise ModelError(
            f"Model {model.id} orders its classes {', '.join(model.labels)}; task {info.task} orders them "
            f"{', '.join(wanted)}. Correct id2label in its config.json."
        )
