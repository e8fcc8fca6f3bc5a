"""An encoder's layers: the ones a student keeps, a student with random weights, and what layers compute in a pass."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill_core.errors import ModelError
from distill_core.storage.encoder_families import EncoderFamily, get_family


@dataclass(frozen=True)
class LayerRecord:
    """What one layer received and, where they were asked for, its query, key and value projections and its attention.

    The projections have all heads side by side; split by head they are `.unflatten(-1, (heads, -1))`, with
    `attention_heads(network)` heads.
    """

    state: Float[Tensor, "batch token width"]
    query: Float[Tensor, "batch token width"] | None = None
    key: Float[Tensor, "batch token width"] | None = None
    value: Float[Tensor, "batch token width"] | None = None
    attention: Float[Tensor, "batch head token token"] | None = None  # weights, after softmax and dropout


class LayerRecorder:
    """The records of one forward pass, filled by a stack of `recording_stack` in the order in which layers run."""

    def __init__(self) -> None:
        self._states: list[Tensor] = []
        self._inner: list[dict[str, Tensor]] = []

    def add_state(self, state: Tensor) -> None:
        """Begin the record of the next layer with what it receives."""
        self._states.append(state)
        self._inner.append({})

    def add(self, name: str, output: Tensor) -> None:
        """Add a projection or the attention to the record of the running layer, the first of each name.

        DeBERTa uses the same projections a second time, on its relative positions; those outputs are no tokens'.
        """
        self._inner[-1].setdefault(name, output)

    @property
    def records(self) -> tuple[LayerRecord, ...]:
        """One record for each run of a layer; a layer that shares its weights has one for each repetition."""
        return tuple(LayerRecord(state, **inner) for state, inner in zip(self._states, self._inner, strict=True))


class _RecordingLayer(nn.Module):
    """Takes the place of a layer: records what it receives and returns what the layer returns."""

    def __init__(self, layer: nn.Module, recorder: LayerRecorder) -> None:
        super().__init__()
        self._layer, self._recorder = layer, recorder

    def forward(self, hidden_states: Tensor, *others: Any, **keywords: Any) -> Any:
        self._recorder.add_state(hidden_states)
        return self._layer(hidden_states, *others, **keywords)


class _RecordingProjection(nn.Module):
    """Takes the place of a query, key or value projection: records and returns what the projection returns."""

    def __init__(self, projection: nn.Module, name: str, recorder: LayerRecorder) -> None:
        super().__init__()
        self._projection, self._name, self._recorder = projection, name, recorder

    def forward(self, hidden_states: Tensor) -> Any:
        output = self._projection(hidden_states)
        self._recorder.add(self._name, output)
        return output


class _RecordingAttention(nn.Module):
    """Takes the place of a self-attention module: records its weights and returns what the module returns."""

    def __init__(self, attention: nn.Module, recorder: LayerRecorder) -> None:
        super().__init__()
        self._attention, self._recorder = attention, recorder
        self._signature = inspect.signature(attention.forward)

    def forward(self, *values: Any, **keywords: Any) -> Any:
        bound = self._signature.bind(*values, **keywords)
        if "output_attentions" in self._signature.parameters:  # MPNet, DeBERTa: weights are returned on demand only
            bound.arguments["output_attentions"] = True
        output, weights, *_ = self._attention(*bound.args, **bound.kwargs)
        self._recorder.add("attention", weights)
        return output, weights


def network_family(network: nn.Module) -> EncoderFamily:
    """Return the family of a classifier or of its base model; ModelError for an architecture without an entry."""
    return get_family(getattr(getattr(network, "config", None), "model_type", None), f"The {type(network).__name__}")


def recording_stack(
    base: nn.Module, projections: bool = False, attentions: bool = False
) -> tuple[str, nn.Module, LayerRecorder]:
    """Return the name of a base model's stack of layers, a shallow copy of it, and the recorder it fills when it runs.

    Each record has what its layer received: the first the embeddings, any other the state after the layer before.
    `projections`: record query, key and value, too; `attentions`: record the attention weights. Nothing is changed in
    the network, so threads may share it.
    """
    family, recorder = network_family(base), LayerRecorder()
    layers: Sequence[nn.Module] = list(_layer_list(base, family))
    if projections:
        layers = [_with_recorded_projections(layer, family, recorder) for layer in layers]
    if attentions:
        layers = [_with_recorded_attention(layer, family, recorder) for layer in layers]
    stack = copy.copy(base.get_submodule(family.stack))
    recording = nn.ModuleList([_RecordingLayer(layer, recorder) for layer in layers])
    stack._modules = {**stack._modules, family.layer_list: recording}
    return family.stack, stack, recorder


def _with_recorded_projections(layer: nn.Module, family: EncoderFamily, recorder: LayerRecorder) -> nn.Module:
    """Return a shallow copy of a layer whose three projections are recorded."""
    attention = layer.get_submodule(family.attention)
    replaced = {
        actual: _RecordingProjection(attention.get_submodule(actual), name, recorder)
        for actual, name in zip(family.projections, ("query", "key", "value"), strict=True)
    }
    return _copy_with(layer, family.attention.split("."), replaced)


def _with_recorded_attention(layer: nn.Module, family: EncoderFamily, recorder: LayerRecorder) -> nn.Module:
    """Return a shallow copy of a layer whose attention weights are recorded."""
    *path, name = family.attention.split(".")
    recording = _RecordingAttention(layer.get_submodule(family.attention), recorder)
    return _copy_with(layer, path, {name: recording})


def _copy_with(module: nn.Module, path: Sequence[str], replaced: Mapping[str, nn.Module]) -> nn.Module:
    """Return a shallow copy of a module in which the submodule at a path has some of its modules replaced."""
    twin = copy.copy(module)
    if path:
        replaced = {path[0]: _copy_with(module.get_submodule(path[0]), path[1:], replaced)}
    twin._modules = {**module._modules, **replaced}
    return twin


def layer_count(network: PreTrainedModel) -> int:
    """Return how many encoder layers a network runs through."""
    return int(network.config.num_hidden_layers)


def attention_heads(network: PreTrainedModel) -> int:
    """Return how many attention heads each layer of a network has."""
    return int(getattr(network.config, network_family(network).heads))


def keep_layers(network: PreTrainedModel, layers: int, which: str = "first") -> PreTrainedModel:
    """Return a copy of a classifier with only `layers` of its encoder layers: the first, last, or even ones.

    `even`: evenly spaced, the last among them (2, 4, 6 of 6; of other depths rounded up at half: ours). Layers that
    share their weights (ALBERT) still do so in the copy, with fewer repetitions. Raises ModelError when the network has
    fewer layers, or when its config could not describe that many of them.
    """
    depth = layer_count(network)
    if not 1 <= layers <= depth:
        raise ModelError(
            f"A student of this teacher can have 1 to {depth} layers, not {layers}; choose a number in this range."
        )
    student = copy.deepcopy(network)
    family = network_family(student)
    layer_list = _layer_list(student.base_model, family)
    if family.shares_layers:
        if which != "first":
            raise ModelError(
                f"Layers {which!r} were requested, but this teacher's layers share their weights: choose the first "
                "layers."
            )
        groups = _groups_of_first(depth, int(student.config.num_hidden_groups), layers)
        layer_list = layer_list[:groups]
        student.config.num_hidden_groups = groups
    else:
        layer_list = nn.ModuleList([layer_list[index] for index in _kept_indices(depth, layers, which)])
    setattr(student.base_model.get_submodule(family.stack), family.layer_list, layer_list)
    student.config.num_hidden_layers = layers
    return student


def build_random_student(network: PreTrainedModel, layers: int, seed: int) -> PreTrainedModel:
    """Return a classifier of the same architecture with `layers` layers and weights drawn at random.

    Raises ModelError as `keep_layers`, whose student has the same shape.
    """
    config = keep_layers(network, layers).config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student: Any = type(network)(config)
    return cast(PreTrainedModel, student.to(network.device).eval())


def _kept_indices(depth: int, layers: int, which: str) -> list[int]:
    if which == "even":
        return [(2 * at * depth + layers) // (2 * layers) - 1 for at in range(1, layers + 1)]
    return list(range(depth))[-layers:] if which == "last" else list(range(layers))


def _layer_list(base: nn.Module, family: EncoderFamily) -> nn.ModuleList:
    return cast(nn.ModuleList, base.get_submodule(family.layers))


def _groups_of_first(depth: int, groups: int, layers: int) -> int:
    """Return how many of an ALBERT's groups its first `layers` layers use, each group as often as in the whole.

    Layer i of n uses group ⌊i / (n / groups)⌋, so not every beginning can be described by another n and groups.
    """

    def group_of_each(count: int, among: int) -> list[int]:
        return [int(layer / (count / among)) for layer in range(count)]  # as transformers computes it

    whole = group_of_each(depth, groups)
    used = {count: whole[count - 1] + 1 for count in range(1, depth + 1)}
    possible = [count for count in used if group_of_each(count, used[count]) == whole[:count]]
    if layers not in possible:
        raise ModelError(
            f"A student of this teacher cannot have {layers} layers: its {depth} layers share {groups} groups of "
            f"weights evenly; choose one of: {', '.join(map(str, possible))}."
        )
    return used[layers]
