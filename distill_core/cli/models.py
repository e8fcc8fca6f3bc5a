"""Commands about models."""

from dataclasses import asdict
from typing import Any

from distill_core.catalogue import ModelInfo, list_models
from distill_core.cli.output import Json, busy, print_json, print_rows


def models(as_json: Json = False) -> None:
    """List the bundled models and the students of runs, each with its plain Hugging Face folder."""
    from distill_core.bundle import unpack

    found = list_models()
    with busy("Unpacking bundled models"):
        for info in found:
            unpack(info)
    if as_json:
        print_json([_model_json(info) for info in found])
    else:
        shown = ("id", "task", "layers", "hidden_size", "parameters", "description")
        print_rows([{name: row[name] for name in shown} for row in map(_model_json, found)])


def _model_json(info: ModelInfo) -> dict[str, Any]:
    return {**asdict(info), "path": str(info.path)}
