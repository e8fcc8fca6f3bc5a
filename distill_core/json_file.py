"""Read a JSON object from a file, so that every kind of damage is the same error.

A file in the application's folder may have been cut short by a full disk, or edited by hand. `json.loads` alone raises
RecursionError for deep nesting, and accepts lone surrogates, which neither the store nor a page can take.
"""

import json
from pathlib import Path
from typing import Any


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; OSError where it cannot be read, ValueError, which says why, for any damage."""
    return parse_json_object(path.read_bytes())


def parse_json_object(content: bytes) -> dict[str, Any]:
    """Return a JSON object encoded in UTF-8; ValueError, which says why, for anything else."""
    try:
        values = json.loads(content.decode("utf-8"))
        if b"\\u" in content:  # the only form in which valid UTF-8 can name a lone surrogate
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it contains an invalid Unicode character (a lone surrogate)") from error
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    return values
