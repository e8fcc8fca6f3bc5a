"""Marks that tests get from what their code reaches, and the order in which slow files run first."""

import json
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

DURATIONS = Path(__file__).with_name("durations.json")  # seconds by file, measured on two cores
UNKNOWN_SECONDS = 5.0  # of a file without a record
# A test whose code, helpers or fixtures reach one of these starts or waits for a process, or trains a model.
REACHED = {
    "subprocess": "process",
    "multiprocessing": "process",
    "tests.support.waiting": "process",
    "tests.support.small_run": "training",
    "tests.support.scripted_session": "training",
    "distill_core.worker": "training",
    "distill_core.training.session": "training",
    "distill_core.training.trainer": "training",
}


def reached_marks(item: pytest.Function) -> set[str]:
    """Return the marks of everything that a test's function, its helpers in tests and its fixtures name."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(definition.func for found in fixtures for definition in found)]
    return set(_marks([function for function in functions if isinstance(function, types.FunctionType)], set()))


def _marks(functions: Iterable[types.FunctionType], seen: set[int]) -> Iterator[str]:
    for function in functions:
        if id(function) in seen or not (function.__module__ or "").startswith("tests."):
            continue
        seen.add(id(function))
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            origin = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if origin in REACHED:
                yield REACHED[origin]
            if isinstance(value, types.FunctionType):
                yield from _marks([value], seen)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def slow_files_first(items: list[pytest.Item], root: Path) -> None:
    """Sort whole files by their recorded duration, so that none that takes long begins last on one process."""
    seconds = json.loads(DURATIONS.read_text()) if DURATIONS.is_file() else {}
    items.sort(key=lambda item: -seconds.get(item.path.relative_to(root).as_posix(), UNKNOWN_SECONDS))
