"""The scalars whose gradients the methods compare: log-odds, which do not vanish when a model is sure."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def log_odds(logits: Float[Tensor, "batch class"], index: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Return log p_c − log(1 − p_c) of one class each; of a regression's one logit, the score itself.

    The gradients of p_c and of −log p_c are this one's times a number, p_c (1 − p_c) and p_c − 1: what is scaled to
    a fixed length afterwards comes out the same, also where p_c is so near 1 that theirs are lost in float32.
    """
    count = logits.shape[1]
    if count == 1:
        return logits[:, 0]
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, index[:, None], True)
    others = logits[~chosen].view(-1, count - 1)
    return logits[chosen] - others.logsumexp(dim=1)


def every_view(logits: Float[Tensor, "batch class"]) -> list[Float[Tensor, ""]]:
    """Return the log-odds of every class, each summed over the batch; those of two classes coincide but for the sign.

    A regression has one view, its score.
    """
    count = logits.shape[1]
    classes = range(count) if count > 2 else [count - 1]
    return [log_odds(logits, torch.full_like(logits[:, 0], index, dtype=torch.long)).sum() for index in classes]


def predicted_view(logits: Float[Tensor, "batch class"]) -> Float[Tensor, ""]:
    """Return the log-odds of each example's predicted class, summed over the batch; a regression's scores."""
    return log_odds(logits, logits.argmax(dim=1)).sum()
