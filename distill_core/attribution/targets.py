"""The classes to explain: one by name, the predicted one, or all."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from distill_core.errors import ConfigError


def choose_targets(
    target: str, labels: Sequence[str], logits: Float[Tensor, "batch class"]
) -> Int[Tensor, "batch target"]:
    """Return class indices per row: for `pred` the row's predicted class, for `all` every class, else the named one.

    A class that is itself called `pred` or `all` cannot be named. Raises ConfigError naming the valid ones.
    """
    if target == "pred":
        return logits.argmax(dim=1, keepdim=True)
    if target == "all":
        return torch.arange(len(labels), device=logits.device).expand(len(logits), -1)
    if target in labels:
        return torch.full((len(logits), 1), list(labels).index(target), device=logits.device)
    raise ConfigError(f"Unknown target {target!r}; choose one of: pred, all, {', '.join(labels)}.")
