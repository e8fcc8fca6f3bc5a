"""A run's settings as options of the command line, made from the list of fields."""

import inspect
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from distill_core.config.methods import DISTILLATION_METHODS, methods_reading
from distill_core.config.run_config import RENAMED, FieldSpec


def take_options(command: Any, specs: Iterable[FieldSpec]) -> None:
    """Give a function that takes any keyword the settings as options, before its own; an option left out is None."""
    own = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
    specs = list(specs)
    aliases = [_option(spec, old) for spec in specs for old, new in RENAMED.items() if new == spec.name]
    options = [*map(_option, specs), *(one.replace(kind=one.KEYWORD_ONLY) for one in own), *aliases]
    command.__signature__ = inspect.Signature(options)
    command.__annotations__ = {option.name: option.annotation for option in options}


def _option(spec: FieldSpec, alias: str = "") -> inspect.Parameter:
    """Return a setting as an option of the command line; one with an `alias` as its name is hidden from the help."""
    kind: Any = {"int": int, "float": float}.get(spec.kind, str)
    words = spec.help + (f" One of: {', '.join(spec.choices)}." if spec.choices else "")
    default: str | bool = str(spec.default) if spec.default not in (None, "") else False
    if spec.name == "teacher":
        default = "the task's bundled one"
    if spec.name == "source":
        words = f"{words[:-1]}: auto, bundled, hub, own/ID (see `data list`), or a GLUE folder."
    if methods := methods_reading(spec.name):
        others = [key for key in DISTILLATION_METHODS if key not in methods]
        words += f" For {', '.join(methods)}." if len(methods) <= len(others) else f" Not for {', '.join(others)}."
    hint = Annotated[kind | None, typer.Option(help=words, show_default=default, hidden=bool(alias))]
    return inspect.Parameter(alias or spec.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
