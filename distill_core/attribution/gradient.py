"""Gradient: how strongly F reacts to a small change of each token's embedding; unsigned."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.attribution.reduce import l2_norm
from distill_core.config.attribution_methods import check_output
from distill_core.models.encoder import embed, logits_from_embeddings, output_count
from distill_core.models.tokenization import Inputs


@dataclass(frozen=True)
class Gradient:
    """L2 norm over the width of ∂F/∂x (Simonyan et al. 2014, arXiv 1312.6034, there on pixels)."""

    key = "gradient"

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the maps; one forward pass for all targets."""
        return to_attributions(request, l2_norm(input_gradients(request), request.inputs.mask[:, None]))


def input_gradients(request: AttributionRequest) -> Float[Tensor, "batch target token width"]:
    """Return ∂F/∂x at every example's own embeddings, in passes of bounded size."""
    batch, targets = request.targets.shape
    rows = torch.arange(batch)
    result = request.embeddings.new_zeros(batch, targets, *request.embeddings.shape[1:])
    for part in request.passes(rows):
        result[part] = request.gradients(request.embeddings[part], part)
    return result


@dataclass(frozen=True)
class InputGradient:
    """One forward pass with its input gradient: g = ∂F/∂x, x, and the logits of the same pass."""

    gradient: Float[Tensor, "batch token width"]
    embeddings: Float[Tensor, "batch token width"]
    logits: Float[Tensor, "batch class"]


def gradient_at_embeddings(
    network: PreTrainedModel,
    inputs: Inputs,
    target: Int[Tensor, " batch"],
    *,
    output: str = "logit",
    create_graph: bool = False,
) -> InputGradient:
    """Return ∂F/∂x at the embedding block's output for one class per example, for use in training.

    Runs the network in the mode it is in and touches no `.grad`. With `create_graph` all three tensors
    carry the graph to the network's parameters (embeddings included), so a loss computed from them can be
    differentiated; without it, all are detached. Raises ConfigError for an unknown `output`.
    """
    check_output(output, output_count(network))
    with torch.enable_grad():
        embeddings = embed(network, inputs)
        if not create_graph:
            embeddings = embeddings.detach()
        if not embeddings.requires_grad:
            embeddings.requires_grad_()
        logits = logits_from_embeddings(network, embeddings, inputs)
        values = logits if output == "logit" else torch.log_softmax(logits, dim=-1)
        chosen = values.gather(1, target[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, embeddings, create_graph=create_graph)
    if create_graph:
        return InputGradient(gradient, embeddings, logits)
    return InputGradient(gradient, embeddings.detach(), logits.detach())
