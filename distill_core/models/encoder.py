"""Loading a sequence classifier from a plain Hugging Face folder, and running it from its embeddings.

Every network is a `transformers` encoder of one of FAMILIES. E, the point all attributions and AD-KD act on, is the
output of its embedding block (after LayerNorm, before the projection that some have to the encoder's width).
`logits_from_embeddings` runs the rest through a shallow copy whose embedding block returns a fixed tensor: the network
gets no hook and is not changed, so threads may share it.
"""

import copy
import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from distill_core.errors import ModelError
from distill_core.json_file import read_json_object
from distill_core.models.layers import LayerRecord, network_family, recording_stack
from distill_core.models.tokenization import Inputs, tokenizer_errors_as
from distill_core.storage.checkpoints import RECORD, replace_folder, sibling_path
from distill_core.storage.encoder_families import family_settings, get_family
from distill_core.storage.model_folder import (
    CONFIG,
    WEIGHTS,
    check_no_adapter,
    check_settings,
    check_tokenizer_files,
    class_names,
    file_sha256,
    fingerprint,
    read_json,
    restricted_view,
    weight_shapes,
)

transformers_logging.disable_progress_bar()  # loading is short, and other bars would garble ours

SPARE_PARAMETERS = (
    1_000_000  # parameters a config may describe beyond twice the stored weights; missing ones are named later
)


@dataclass(frozen=True)
class LoadedModel:
    """A network in eval mode with its tokenizer; `fingerprint`: SHA-256 over weights, config and tokenizer."""

    id: str
    path: Path
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: tuple[str, ...]
    fingerprint: str

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    @property
    def max_length(self) -> int:
        """The longest input in tokens, special ones included."""
        padding = _padding_in_positions(self.network)
        unused = 0 if padding is None else padding + 1  # the first token's position follows the padding's
        return int(min(self.network.config.max_position_embeddings - unused, self.tokenizer.model_max_length))

    @property
    def mask_id(self) -> int | None:
        """Id of the [MASK] token, None where there is none."""
        mask_id = self.tokenizer.mask_token_id
        return None if mask_id is None else int(cast(int, mask_id))

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return int(cast(int, self.tokenizer.pad_token_id))


class _FixedEmbeddings(nn.Module):
    """Takes the place of an embedding block and returns a fixed tensor for any input."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self._embeddings = embeddings

    def forward(self, *_: object, **__: object) -> Tensor:
        return self._embeddings


def load_model(path: Path, model_id: str | None = None, device: str = "cpu") -> LoadedModel:
    """Load the classifier in a folder, float32, eval mode, no gradients on its weights.

    If a new checkpoint replaces the folder meanwhile, the new one is loaded, never a mixture of both. Raises ModelError
    naming the file if the folder is incomplete or damaged, if the weights are not those of the folder's record, if a
    weight is missing, or for an architecture that is not among FAMILIES.
    """
    name = model_id or str(path)
    for _ in range(3):
        before = _inode(path)
        try:
            model = _load(path, name, device)
        except (ModelError, OSError) as error:
            if _inode(path) == before:
                raise ModelError(str(error)) from error
        else:
            if _inode(path) == before:
                return model
    raise ModelError(f"Model {name}: {path} was replaced each time it was read; try again.")


def _inode(path: Path) -> int | None:
    """Return a folder's inode, which differs from that of its replacement; None if there is none."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _load(path: Path, name: str, device: str) -> LoadedModel:
    for needed in (CONFIG, WEIGHTS):
        if not (path / needed).is_file():
            raise ModelError(
                f"Model {name}: {path / needed} is missing; choose a plain Hugging Face folder, as save_pretrained "
                "writes."
            )
    where, names = f"Model {name}: {path}", {file.name for file in path.iterdir()}
    check_tokenizer_files(names, where)
    check_no_adapter(names, where)
    check_settings(path, where)
    weights_sha = file_sha256(path / WEIGHTS)
    recorded = read_record(path).get("weights_sha256")
    if recorded is not None and recorded != weights_sha:
        raise ModelError(
            f"Model {name}: {path / WEIGHTS} is damaged (its checksum is not the one recorded when it was written). "
            f"Delete the folder {path}; a bundled model is then unpacked afresh, another must be added again."
        )
    get_family(read_json(path / CONFIG).get("model_type"), f"Model {name}")
    try:
        with restricted_view(path) as view:
            _check_size(path, view, name)
            network, info = AutoModelForSequenceClassification.from_pretrained(
                view,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                attn_implementation="eager",  # fused kernels lack the double backward that AD-KD needs
                return_dict=True,  # whatever its config says; recording outputs would set hooks
                output_attentions=False,
                output_hidden_states=False,
                output_loading_info=True,
            )
            with tokenizer_errors_as(ModelError, f"Model {name}: its tokenizer in {path} cannot be loaded"):
                tokenizer = AutoTokenizer.from_pretrained(view, local_files_only=True, trust_remote_code=False)
    except ModelError:
        raise
    except Exception as error:  # a damaged folder raises many classes here; all mean the same to the user
        raise ModelError(
            f"Model {name}: {path} cannot be loaded ({error}); restore its files, or save the model again with "
            "save_pretrained."
        ) from error
    _check_weights(network, info, path, name)
    network = network.to(device).eval().requires_grad_(False)
    if _uses_segments(network) and "model_input_names" not in tokenizer.init_kwargs:
        # transformers 5 removed segment ids from ALBERT's tokenizer (its issue 48128); a folder's own setting counts
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    _check_tokenizer(network, tokenizer, name)
    labels = class_names({"id2label": network.config.id2label}, path / CONFIG)
    return LoadedModel(name, path, network, tokenizer, labels, fingerprint(path, weights_sha))


def _check_weights(network: PreTrainedModel, info: Mapping[str, Any], path: Path, name: str) -> None:
    """Raise ModelError if the network and its weights differ; `info`: what transformers reports about loading."""
    layer_weight = re.compile(rf"\b{re.escape(network_family(network).layers)}\.\d")
    unused = sorted(key for key in info["unexpected_keys"] if layer_weight.search(key))
    if unused:
        raise ModelError(
            f"Model {name}: its config describes fewer layers than its weights have ({unused[0]}, …); take both from "
            "the same place."
        )
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if absent:
        raise ModelError(
            f"Model {name}: {path / WEIGHTS} lacks {', '.join(absent[:4])}; save the model again with all its weights."
        )


def _check_tokenizer(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise ModelError for a tokenizer or class names that the network cannot use."""
    config: Any = network.config
    if not tokenizer.is_fast or len(tokenizer) > config.vocab_size:
        raise ModelError(
            f"Model {name}: its tokenizer ({len(tokenizer)} tokens) is not one for its network "
            f"({config.vocab_size} tokens); take both from the same place."
        )
    names = config.id2label
    if sorted(names) != list(range(config.num_labels)) or tokenizer.pad_token_id is None:
        raise ModelError(
            f"Model {name}: its config names classes {names}, or its tokenizer has no padding token; wanted classes "
            "numbered from 0 and a padding token. Correct id2label in the config, or set pad_token and save the "
            "tokenizer."
        )


def _check_size(path: Path, view: Path, name: str) -> None:
    """Raise ModelError for a config of a far larger network than its weights, before memory is allocated for it."""
    config, shapes = read_json(path / CONFIG), weight_shapes(path / WEIGHTS)
    class_names(config, path / CONFIG)
    depth_names = {"num_hidden_layers", family_settings(config).depth}  # transformers reads either
    layers = max(config.get(name, 0) for name in depth_names)
    stored = sum(math.prod(shape) for _, shape in shapes.values())
    if layers > len(shapes):  # building modules takes time; even shared layers have more tensors than layers
        raise ModelError(
            f"Model {name}: its config describes {layers} layers, its weights are {len(shapes)} tensors; take both "
            "from the same place."
        )
    described = AutoConfig.from_pretrained(view, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):  # shapes without memory
        network = AutoModelForSequenceClassification.from_config(described, trust_remote_code=False)
    wanted = sum(tensor.numel() for tensor in chain(network.parameters(), network.buffers()))
    if wanted > SPARE_PARAMETERS + 2 * stored:
        raise ModelError(
            f"Model {name}: its config describes {wanted:,} weights, {WEIGHTS} has {stored:,}; take both from the same "
            "place."
        )


def output_count(network: PreTrainedModel) -> int:
    """Return the number of logits: one a class, or 1 for a regression."""
    return len(network.config.id2label or {})


def save_model(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    record: dict[str, Any],
    write_more: Callable[[Path], object] | None = None,
) -> None:
    """Write a plain Hugging Face folder at `path`; a kill at any moment leaves the old folder or the new one.

    `record`: JSON values to store as `distill.json`. `write_more`: called with the folder while it is built, to write
    the other files that belong in it, such as the state of a training.

    The new folder is built beside `path` and renamed; an older folder of that name is set aside first and deleted
    last. After an error (a full disk: OSError, SafetensorError) the half-built folder is deleted.
    """
    part = sibling_path(path, "part")
    remove_folder(part)
    part.mkdir(parents=True)
    try:
        network.save_pretrained(part)
        tokenizer.save_pretrained(part)
        if write_more is not None:
            write_more(part)
        complete = {**record, "weights_sha256": file_sha256(part / WEIGHTS)}
        (part / RECORD).write_text(json.dumps(complete, indent=2), encoding="utf-8")
    except BaseException:
        remove_folder(part)
        raise
    replace_folder(part, path)


def make_trainable(network: PreTrainedModel, embeddings: bool = False) -> PreTrainedModel:
    """Enable gradients for all weights, those of the embedding block only with `embeddings`, and return the network."""
    network.requires_grad_(True)
    embedding_block(network).requires_grad_(embeddings)
    return network


def remove_folder(path: Path) -> None:
    """Delete a folder with its content, if it exists."""
    if path.exists():
        shutil.rmtree(path)


def read_record(path: Path) -> dict[str, Any]:
    """Return the record that `save_model` wrote into a folder, empty if there is none; ModelError if it is damaged."""
    file = path / RECORD
    if not file.is_file():
        return {}
    try:
        return read_json_object(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is damaged ({error}); delete the folder {path}.") from error


def embed(
    network: PreTrainedModel, inputs: Inputs, ids: Int[Tensor, "batch token"] | None = None
) -> Float[Tensor, "batch token width"]:
    """Return the embedding block's output for a batch: word, position and segment summed and normalised.

    `ids`: other tokens in place of the batch's. Positions, segments and mask remain those of `inputs`, also in a
    network whose positions skip padding (RoBERTa, MPNet).
    """
    block = embedding_block(network)
    keywords = _segments(network, inputs)
    padding = _padding_in_positions(network)
    if padding is not None:
        counted = (inputs.input_ids != padding).long()
        keywords["position_ids"] = counted.cumsum(dim=1) * counted + padding
    if network_family(network).embeddings_take_mask:
        keywords["mask"] = inputs.attention_mask
    return cast(Tensor, block(input_ids=inputs.input_ids if ids is None else ids, **keywords))


def logits_from_embeddings(
    network: PreTrainedModel, embeddings: Float[Tensor, "batch token width"], inputs: Inputs
) -> Float[Tensor, "batch class"]:
    """Run everything after the embedding block; equals the plain network on `embed(network, inputs)`."""
    return _run(network, inputs, embeddings, {})


def logits_and_layers(
    network: PreTrainedModel,
    embeddings: Float[Tensor, "batch token width"],
    inputs: Inputs,
    *,
    projections: bool = False,
    attentions: bool = False,
) -> tuple[Float[Tensor, "batch class"], tuple[LayerRecord, ...]]:
    """Return the same logits and a record of each layer in order, with the state it received; all in one graph.

    `projections`: record the query, key and value projections of each layer, too; `attentions`: the attention weights.
    """
    name, stack, recorder = recording_stack(_base(network), projections, attentions)
    logits = _run(network, inputs, embeddings, {name: stack})
    return logits, recorder.records


def logits_and_states(
    network: PreTrainedModel, embeddings: Float[Tensor, "batch token width"], inputs: Inputs
) -> tuple[Float[Tensor, "batch class"], tuple[Float[Tensor, "batch token width"], ...]]:
    """Return the same logits and the states between the layers in order (after each but the last); all in one graph."""
    logits, layers = logits_and_layers(network, embeddings, inputs)
    return logits, tuple(layer.state for layer in layers[1:])


def _run(
    network: PreTrainedModel, inputs: Inputs, embeddings: Tensor, replaced: Mapping[str, nn.Module]
) -> Float[Tensor, "batch class"]:
    """Run a shallow copy of a network whose embedding block returns `embeddings`, with other modules replaced."""
    tail = copy.copy(network)
    tail._modules = dict(network._modules)
    base = copy.copy(_base(network))
    base._modules = {
        **_base(network)._modules,
        network_family(network).embeddings: _FixedEmbeddings(embeddings),
        **replaced,
    }
    tail._modules[network.base_model_prefix] = base
    output = tail(inputs_embeds=embeddings, attention_mask=inputs.attention_mask)
    return cast(Tensor, output.logits)


def logits(network: PreTrainedModel, inputs: Inputs) -> Float[Tensor, "batch class"]:
    """Return the class logits of a batch."""
    keywords = _segments(network, inputs)
    output = network(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, **keywords)
    return cast(Tensor, output.logits)


def _segments(network: PreTrainedModel, inputs: Inputs) -> dict[str, Tensor]:
    """Return the segment ids as a keyword if the network uses them; a tokenizer may give them anyway."""
    if inputs.token_type_ids is None or not _uses_segments(network):
        return {}
    return {"token_type_ids": inputs.token_type_ids}


def _uses_segments(network: PreTrainedModel) -> bool:
    table = getattr(embedding_block(network), "token_type_embeddings", None)
    return isinstance(table, nn.Embedding) and table.num_embeddings > 1


def _padding_in_positions(network: PreTrainedModel) -> int | None:
    """Return the id of the padding that positions skip and begin after, None if they begin at 0."""
    if not network_family(network).positions_skip_padding:
        return None
    return int(cast(int, embedding_block(network).padding_idx))


def embedding_block(network: PreTrainedModel) -> nn.Module:
    """Return the module that turns ids into E; ModelError for an architecture without an entry in FAMILIES."""
    return cast(nn.Module, _base(network).get_submodule(network_family(network).embeddings))


def embed_width(network: PreTrainedModel) -> int:
    """Return the width of E; some networks project it to another width before their layers."""
    return int(getattr(network.config, "embedding_size", None) or network.config.hidden_size)


def _base(network: PreTrainedModel) -> Any:
    return network.base_model
