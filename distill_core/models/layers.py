"""An encoder's layers: those that a student keeps, or begins without weights, and what each hands to the next."""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distill_core.errors import ModelError

_STACKS = ("encoder", "transformer")  # what the families call the module that holds the layers
_LISTS = ("layer", "albert_layer_groups")  # and what that calls the list of them


class _Watched(nn.Module):
    """Stands where a layer stood, notes what it is given, and lets the layer answer."""

    def __init__(self, layer: nn.Module, given: list[Tensor]) -> None:
        super().__init__()
        self._layer, self._given = layer, given

    def forward(self, hidden_states: Tensor, *others: Any, **keywords: Any) -> Any:
        self._given.append(hidden_states)
        return self._layer(hidden_states, *others, **keywords)


def recording_stack(base: nn.Module) -> tuple[str, nn.Module, list[Tensor]]:
    """Return the name of an encoder's stack, a shallow copy of it, and the list it fills when it is run.

    The list holds what each layer was given, in order: the first the embeddings, any other the state after the layer
    before it. Nothing is changed in the network; layers that share weights are noted each time they are used.
    """
    given: list[Tensor] = []
    name, stack = _stack(base)
    listed = next(name for name in _LISTS if hasattr(stack, name))
    twin = copy.copy(stack)
    twin._modules = {
        **stack._modules,
        listed: nn.ModuleList([_Watched(layer, given) for layer in getattr(stack, listed)]),
    }
    return name, twin, given


def layer_count(network: PreTrainedModel) -> int:
    """Return how many encoder layers a network runs through."""
    return int(network.config.num_hidden_layers)


def keep_layers(network: PreTrainedModel, layers: int, which: str = "first") -> PreTrainedModel:
    """Return a copy of a classifier with only `layers` of its encoder layers: the first, last, or even ones.

    `even`: spaced evenly, the last among them (2, 4, 6 of 6; of other depths rounded up at half: ours). Where layers
    share weights (ALBERT), they still do: fewer repetitions of the same. Raises ModelError when it has fewer layers, or
    when its config could not describe that many of them.
    """
    own = layer_count(network)
    if not 1 <= layers <= own:
        raise ModelError(f"A student of this teacher can have 1 to {own} layers, not {layers}.")
    student = copy.deepcopy(network)
    _, stack = _stack(student.base_model)
    if hasattr(stack, "albert_layer_groups"):
        if which != "first":
            raise ModelError("This teacher's layers share their weights: its student can only keep the first.")
        groups = _groups_of_first(own, int(student.config.num_hidden_groups), layers)
        stack.albert_layer_groups = stack.albert_layer_groups[:groups]
        student.config.num_hidden_groups = groups
    else:
        stack.layer = nn.ModuleList([stack.layer[index] for index in _chosen(own, layers, which)])
    student.config.num_hidden_layers = layers
    return student


def build_random_student(network: PreTrainedModel, layers: int, seed: int) -> PreTrainedModel:
    """Return a classifier built as another is, of so many layers, its weights drawn at random.

    Raises ModelError as `keep_layers`, whose student has the same shape.
    """
    config = keep_layers(network, layers).config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student: Any = type(network)(config)
    return cast(PreTrainedModel, student.to(network.device).eval())


def _chosen(own: int, layers: int, which: str) -> list[int]:
    """Return the indices of the layers that are kept."""
    if which == "even":
        return [(2 * at * own + layers) // (2 * layers) - 1 for at in range(1, layers + 1)]
    return list(range(own))[-layers:] if which == "last" else list(range(layers))


def _stack(base: nn.Module) -> tuple[str, Any]:
    """Return the name and the module of the stack of layers; ModelError for an architecture without one."""
    for name in _STACKS:
        stack = getattr(base, name, None)
        if any(hasattr(stack, listed) for listed in _LISTS):
            return name, stack
    raise ModelError(f"{type(base).__name__} has no list of layers this library knows.")


def _groups_of_first(own: int, groups: int, layers: int) -> int:
    """Return how many of an ALBERT's groups its first `layers` layers use, each group as often as in the whole.

    Layer i of n uses group ⌊i / (n / groups)⌋, so not every beginning can be described by another n and groups.
    """

    def plan(count: int, among: int) -> list[int]:
        return [int(layer / (count / among)) for layer in range(count)]  # as transformers computes it

    whole = plan(own, groups)
    used = {count: whole[count - 1] + 1 for count in range(1, own + 1)}
    possible = [count for count in used if plan(count, used[count]) == whole[:count]]
    if layers not in possible:
        raise ModelError(
            f"A student of this teacher cannot have {layers} layers: its {own} layers share {groups} groups of weights "
            f"evenly; choose one of: {', '.join(map(str, possible))}."
        )
    return used[layers]
