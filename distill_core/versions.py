"""Which versions of this library and of those that decide its numbers a run is made by."""

from importlib.metadata import version

from distill_core import __version__

_DECIDE = ("torch", "transformers", "tokenizers")


def versions() -> dict[str, str]:
    """Return name to version; imports none of them."""
    return {"distill_core": __version__} | {name: version(name) for name in _DECIDE}


def format_versions(record: object) -> str:
    """Return the versions a student's record has, as a list in words, or that it has none."""
    named = [f"{name} {value}" for name, value in record.items()] if isinstance(record, dict) else []
    return ", ".join(named) or "versions that were not recorded"
