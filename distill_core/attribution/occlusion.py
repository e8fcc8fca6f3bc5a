"""Occlusion: how far F falls when one token, or one whole word, is replaced; signed, without gradients."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from distill_core.attribution.base import Attribution, AttributionRequest, to_attributions
from distill_core.attribution.reduce import share_among_tokens


@dataclass(frozen=True)
class Occlusion:
    """F(x) − F(x with a token's embedding replaced by the baseline's) (Zeiler & Fergus 2014, on pixels).

    With `by_word`, all pieces of a word are replaced together and each gets an equal share of the word's
    score, so that pieces sum to the word. A token whose baseline is its own embedding (a special token
    under [PAD] or [MASK]) scores exactly 0.
    """

    by_word: bool = False

    @property
    def key(self) -> str:
        """Name of its entry in `config.attribution_methods`."""
        return "occlusion_word" if self.by_word else "occlusion"

    def maps(self, request: AttributionRequest) -> list[Attribution]:
        """Return the maps; one forward pass per token or word serves all targets."""
        rows, replaced = self._replacements(request)
        examples = torch.arange(len(request.targets))
        whole = request.masked_outputs(torch.ones_like(request.inputs.mask, device="cpu"), examples)  # (B, K)
        drop = whole[rows] - request.masked_outputs(~replaced, rows)  # (G, K)
        return to_attributions(request, share_among_tokens(drop, replaced, rows, len(examples)))

    def _replacements(self, request: AttributionRequest) -> tuple[Int[Tensor, " group"], Bool[Tensor, "group token"]]:
        """Return, for every replacement to make, its example and the tokens it replaces; on the CPU."""
        if self.by_word:
            return request.replaceable_words()
        replaceable = request.replaceable
        rows, positions = replaceable.nonzero(as_tuple=True)
        return rows, torch.nn.functional.one_hot(positions, replaceable.shape[1]).bool()
