"""The distillation methods: one file each, listed once."""

from distill_core.errors import ConfigError
from distill_core.methods import METHODS
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.base import ForwardPass, Method, Signal
from distill_core.objectives.gkd import Gkd
from distill_core.objectives.gkd_cls import GkdCls
from distill_core.objectives.pkd import Pairs, Pkd, layer_pairs

__all__ = [
    "AdKd", "ForwardPass", "Gkd", "GkdCls", "Method", "Pairs", "Pkd", "Signal", "layer_pairs", "make_method",
]  # fmt: skip


def make_method(key: str, *, top_k: int | None = None, pairs: Pairs = ()) -> Method | None:
    """Return what a method adds to plain KD, None for plain KD itself; ConfigError for an unknown key.

    `pairs`: the layers that are matched, for the methods that match some (`layer_pairs`).
    """
    if key not in METHODS:
        raise ConfigError(f"Unknown method {key!r}; choose one of: {', '.join(METHODS)}.")
    if "matching" in METHODS[key].settings and not pairs:
        raise ConfigError(f"{METHODS[key].title} matches layers; say which (layer_pairs).")
    built: dict[str, Method | None] = {
        "kd": None, "ad_kd": AdKd(top_k=top_k), "gkd": Gkd(), "gkd_cls": GkdCls(pairs), "pkd": Pkd(pairs),
    }  # fmt: skip
    return built[key]
