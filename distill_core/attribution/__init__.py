"""Attribution maps: which tokens a classifier's output depends on. One file per method; all share one contract.

The list of methods is `distill_core.config.attribution_methods`; a new method is one file here and one entry there.
"""

from importlib import import_module
from typing import cast

from jaxtyping import Int
from torch import Tensor

from distill_core.attribution.base import Attribution, AttributionMethod, build_request
from distill_core.config.attribution_methods import (
    ATTRIBUTION_METHODS,
    BASELINES,
    OUTPUTS,
    find_attribution_method,
)
from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import Inputs

__all__ = [
    "ATTRIBUTION_METHODS",
    "BASELINES",
    "OUTPUTS",
    "Attribution",
    "AttributionMethod",
    "attribute",
    "attribute_each",
    "build_method",
]


def build_method(key: str) -> AttributionMethod:
    """Build the method of this key with the settings of its entry; ConfigError naming the valid keys."""
    spec = find_attribution_method(key)
    module, name = spec.builder.split(":")
    return cast(AttributionMethod, getattr(import_module(module), name)(**spec.settings))


def attribute(
    method: str | AttributionMethod,
    model: LoadedModel,
    inputs: Inputs,
    target: Int[Tensor, " batch"],
    *,
    baseline: str | None = None,
    output: str = "logit",
    words: Int[Tensor, "batch token"] | None = None,
    seed: int = 0,
) -> Attribution:
    """Return the maps of a batch for one class per example; arguments and errors as in `base.build_request`."""
    return attribute_each(
        method, model, inputs, target[:, None], baseline=baseline, output=output, words=words, seed=seed
    )[0]


def attribute_each(
    method: str | AttributionMethod,
    model: LoadedModel,
    inputs: Inputs,
    targets: Int[Tensor, "batch target"],
    *,
    baseline: str | None = None,
    output: str = "logit",
    words: Int[Tensor, "batch token"] | None = None,
    seed: int = 0,
) -> list[Attribution]:
    """Return the maps of a batch for several classes per example, one Attribution per column of `targets`.

    The columns share forward passes, so all classes cost little more than one. `method`: a key, or a method built with
    settings of its own.
    """
    if isinstance(method, str):
        method = build_method(method)
    return method.maps(
        build_request(method, model, inputs, targets, baseline=baseline, output=output, words=words, seed=seed)
    )
