"""The scalars whose gradients the methods compare: log-odds, whose gradients do not vanish when a model is certain."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

CERTAIN = 30.0  # log-odds


def log_odds(logits: Float[Tensor, "batch class"], index: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Return log p_c − log(1 − p_c) for one class of each example; for a regression, the score.

    The gradients of p_c and of −log p_c are this gradient times p_c (1 − p_c) and p_c − 1. Scaled to a fixed length
    they are equal to it, but where p_c is close to 1 they underflow in float32 and this one does not.
    """
    count = logits.shape[1]
    if count == 1:
        return logits[:, 0]
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, index[:, None], True)
    others = logits[~chosen].view(-1, count - 1)
    return logits[chosen] - others.logsumexp(dim=1)


def every_view(logits: Float[Tensor, "batch class"]) -> list[Float[Tensor, ""]]:
    """Return the log-odds of every class, each summed over the batch; of two classes only one, as they differ in sign.

    A regression has one view, its score.
    """
    count = logits.shape[1]
    classes = range(count) if count > 2 else [count - 1]
    return [log_odds(logits, torch.full_like(logits[:, 0], index, dtype=torch.long)).sum() for index in classes]


def losses_of_views(
    logits: Float[Tensor, "point class"], labels: Shaped[Tensor, " point"], steps: int
) -> list[Float[Tensor, ""]]:
    """Return the views of AD-KD, each summed over all points: −log p of the gold class (two classes) or of every class.

    A regression has the squared error. `steps`: of the path; the points are that many copies of the batch, one after
    another. Each example's −log p is multiplied by a factor of its own (ours): its map is scaled to norm 1 afterwards,
    and without the factor the gradients of a model that is certain at every point would underflow in float32.
    """
    count = logits.shape[1]
    if count == 1:
        return [(logits[:, 0] - labels.to(logits.dtype)).square().sum()]
    if count == 2:
        return [_surprise(log_odds(logits, labels), steps).sum()]
    every = (torch.full_like(labels, index) for index in range(count))
    return [_surprise(log_odds(logits, index), steps).sum() for index in every]


def _surprise(odds: Float[Tensor, " point"], steps: int) -> Float[Tensor, " point"]:
    """Return −log p = softplus(−log-odds), times e to the example's smallest log-odds on the path if that is above 0.

    Beyond CERTAIN, softplus(−o) equals e^(−o) in every digit.
    """
    least = odds.detach().unflatten(0, (steps, -1)).amin(dim=0).clamp(min=0.0).repeat(steps)
    near = F.softplus(-odds) * least.clamp(max=CERTAIN).exp()
    far = (least - odds).clamp(max=0.0).exp()
    return torch.where(least > CERTAIN, far, near)


def predicted_view(logits: Float[Tensor, "batch class"]) -> Float[Tensor, ""]:
    """Return the log-odds of each example's predicted class, summed over the batch; a regression's scores."""
    return log_odds(logits, logits.argmax(dim=1)).sum()
