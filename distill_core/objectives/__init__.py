"""The distillation methods: one file each, listed once."""

from distill_core.errors import ConfigError
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.base import ForwardPass, Method

__all__ = ["AdKd", "ForwardPass", "Method", "make_method"]


def make_method(key: str, *, top_k: int | None = None) -> Method | None:
    """Return the term a method adds to plain KD, None for plain KD itself; ConfigError for an unknown key."""
    if key == "kd":
        return None
    if key == "ad_kd":
        return AdKd(top_k=top_k)
    raise ConfigError(f"Unknown method {key!r}; choose one of: kd, ad_kd.")
