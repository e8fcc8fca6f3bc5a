"""The versions of this library and of the libraries that determine its numbers."""

from importlib.metadata import version

from distill_core import __version__

_NUMERICAL = ("torch", "transformers", "tokenizers")


def versions() -> dict[str, str]:
    """Return the version of each library by name, without importing them."""
    return {"distill_core": __version__} | {name: version(name) for name in _NUMERICAL}


def format_versions(record: object) -> str:
    """Return the versions in a student's record as one line of text, or a remark that there are none."""
    named = [f"{name} {value}" for name, value in record.items()] if isinstance(record, dict) else []
    return ", ".join(named) or "versions that were not recorded"
