"""Pairs of a family or task and a method: few by default, all with EVERY_METHOD=1."""

import os
from collections.abc import Iterable


def every_method() -> bool:
    """Return whether the full crosses are asked for: each method on each family and on each task."""
    return os.environ.get("EVERY_METHOD") == "1"


def crossing(families: Iterable[str], methods: Iterable[str], *, method: str) -> list[tuple[str, str]]:
    """Return every family with one `method`, and BERT with all methods; the full cross with EVERY_METHOD=1."""
    families, methods = list(families), list(methods)
    if every_method():
        return [(family, one) for family in families for one in methods]
    return list(dict.fromkeys([*((family, method) for family in families), *(("bert", one) for one in methods)]))


def turns(tasks: Iterable[str], methods: Iterable[str], *, first: int = 0) -> list[tuple[str, str]]:
    """Return every task and every method at least once, each with the next of the other; all with EVERY_METHOD=1.

    `first`: the method that the first task is paired with.
    """
    tasks, methods = list(tasks), list(methods)
    if every_method():
        return [(task, one) for task in tasks for one in methods]
    most = max(len(tasks), len(methods))
    return [(tasks[at % len(tasks)], methods[(first + at) % len(methods)]) for at in range(most)]
