"""The points x' that attributions are measured from: zero embedding, [PAD] or [MASK] in place of the text."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distill_core.config.attribution_methods import BASELINES
from distill_core.errors import AttributionError, ConfigError
from distill_core.models.encoder import embed
from distill_core.models.tokenization import Inputs


def baseline_embeddings(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, inputs: Inputs, baseline: str
) -> Float[Tensor, "batch token width"]:
    """Return x' for every example, in the space of the embedding block's output.

    `zero` is 0 at every token, special ones included. `pad` and `mask` embed the text with every content
    token replaced; special tokens, positions, segments and the attention mask stay as they are.
    Raises ConfigError for another name, AttributionError when the tokenizer lacks the token.
    """
    if baseline == "zero":
        return torch.zeros_like(embed(network, inputs))
    if baseline == "pad":
        token = tokenizer.pad_token_id
    elif baseline == "mask":
        token = tokenizer.mask_token_id
    else:
        raise ConfigError(f"Unknown baseline {baseline!r}; choose one of: {', '.join(BASELINES)}.")
    if not isinstance(token, int):
        raise AttributionError(f"The model's tokenizer has no {baseline} token; choose another baseline.")
    ids = inputs.input_ids.masked_fill(~inputs.special & inputs.mask, token)
    return embed(network, inputs, ids)
