"""A toy attribution method, as a newcomer would add one: this file, and one entry in the list of methods."""

from dataclasses import dataclass

import torch

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.config.attribution_methods import AttributionMethodSpec


@dataclass(frozen=True)
class TokenLength:
    """Scores each token by the length of its embedding, times `factor`."""

    factor: float = 1.0
    key = "token_length"

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the same map for every target."""
        length = torch.linalg.vector_norm(request.embeddings, dim=-1)  # (B, T)
        return to_attributions(request, self.factor * length[:, None].expand(-1, request.targets.shape[1], -1))


ENTRY = AttributionMethodSpec(
    key="token_length",
    title="Length of the embedding",
    idea="Measures how long the token’s embedding is.",
    formula="factor · ‖x‖",
    limits="It does not look at the output at all.",
    source="a toy",
    builder="tests.support.toy_attribution:TokenLength",
    settings={"factor": 2.0},
    cache_key="token length, version 1",
    signed=False,
)
