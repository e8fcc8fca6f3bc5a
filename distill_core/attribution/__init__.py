"""Attribution maps: which tokens a classifier's answer rests on, by five methods with one contract."""

from collections.abc import Mapping

from jaxtyping import Int
from torch import Tensor

from distill_core.attribution.base import OUTPUTS, Attribution, AttributionMethod, build_request
from distill_core.attribution.baselines import BASELINES
from distill_core.attribution.gradient import Gradient
from distill_core.attribution.gradient_x_input import GradientXInput
from distill_core.attribution.integrated_gradients import IntegratedGradients
from distill_core.attribution.occlusion import Occlusion
from distill_core.errors import ConfigError
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
    "get_method",
]

ATTRIBUTION_METHODS: Mapping[str, AttributionMethod] = {
    "integrated_gradients": IntegratedGradients(),
    "gradient": Gradient(),
    "gradient_x_input": GradientXInput(),
    "occlusion": Occlusion(),
    "occlusion_word": Occlusion(by_word=True),
}


def get_method(method: str | AttributionMethod) -> AttributionMethod:
    """Return the method of this key (a method object is handed through); ConfigError naming the valid keys."""
    if not isinstance(method, str):
        return method
    if method not in ATTRIBUTION_METHODS:
        raise ConfigError(f"Unknown attribution method {method!r}; choose one of: {', '.join(ATTRIBUTION_METHODS)}.")
    return ATTRIBUTION_METHODS[method]


def attribute(
    method: str | AttributionMethod,
    model: LoadedModel,
    inputs: Inputs,
    target: Int[Tensor, " batch"],
    *,
    baseline: str | None = None,
    output: str = "logit",
    words: Int[Tensor, "batch token"] | None = None,
) -> Attribution:
    """Return the maps of a batch for one class an example; arguments and errors as in `base.build_request`."""
    return attribute_each(method, model, inputs, target[:, None], baseline=baseline, output=output, words=words)[0]


def attribute_each(
    method: str | AttributionMethod,
    model: LoadedModel,
    inputs: Inputs,
    targets: Int[Tensor, "batch target"],
    *,
    baseline: str | None = None,
    output: str = "logit",
    words: Int[Tensor, "batch token"] | None = None,
) -> list[Attribution]:
    """Return the maps of a batch for several classes an example, one Attribution a column of `targets`.

    The columns share forward passes, so all classes cost little more than one; integrated gradients refine the path
    in as many rounds as the class that needs most, each round serving all classes that still want one.
    """
    chosen = get_method(method)
    return chosen.maps(build_request(chosen, model, inputs, targets, baseline=baseline, output=output, words=words))
