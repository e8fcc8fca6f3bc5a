"""Distillation and explanation of encoder classifiers: attributions, agreement, objectives, live runs.

Names are loaded when first used, so that reading runs never imports torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "DistillError": "errors",
    "RunConfig": "config.run_config",
    "Store": "runs.store",
    "add_folder": "model_import.importer",
    "add_from_hub": "model_import.importer",
    "attribute": "attribution",
    "distill": "training.trainer",
    "evaluate": "models.evaluation",
    "explain": "explanation.explain",
    "find_model": "catalog.catalog",
    "get_task": "data.tasks",
    "label_order_doubt": "model_import.label_order:label_order_warning",  # the name before version 0.2
    "label_order_warning": "model_import.label_order",
    "list_models": "catalog.catalog",
    "load_split": "data.datasets",
    "open_model": "models.bundle",
    "same_tokens": "models.tokenizer_digest",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)
