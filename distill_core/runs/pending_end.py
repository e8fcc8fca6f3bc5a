"""The end a worker has decided on, in a file of the run's folder until it is in the store.

The store may be busy or its disk full when a run ends, and the worker may be killed while it waits. Then whoever finds
the worker gone ends the run with what this file says, so that a student saved on request does not count as lost.

Each attempt, known by its token, has its own file: a worker that was given up may still write to the run's folder.
"""

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import cast

from distill_core.json_file import read_json_object
from distill_core.paths import run_folder
from distill_core.runs.lifecycle import Ending, RunState, states_before


def write_pending_end(run_id: str, token: str, ending: Ending) -> None:
    """Write how the attempt with this token ends; does nothing on a disk that is full."""
    path = _path(run_id, token)
    part = path.with_suffix(".part")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps({"token": token, **ending._asdict()}), encoding="utf-8")
        os.replace(part, path)


def read_pending_end(run_id: str, token: str) -> Ending | None:
    """Return how the attempt with this token ends; None where it did not come that far.

    A damaged file is logged and counts as none: the run must end, and others wait for the one who ends it.
    """
    path = _path(run_id, token)
    try:
        values = read_json_object(path)
        state, reason = values.get("state"), values.get("reason")
        if values.get("token") != token or not isinstance(state, str) or not isinstance(reason, str):
            raise ValueError("it is not an end of this attempt")
        if "running" not in states_before(cast(RunState, state)):
            raise ValueError(f"a running run cannot become {state[:40]!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logging.getLogger(__name__).warning("%s is damaged and not used: %s", path, error)
        return None
    return Ending(cast(RunState, state), reason)


def remove_pending_end(run_id: str, token: str) -> None:
    """Delete the file of the attempt with this token once its end is in the store."""
    with contextlib.suppress(OSError):
        _path(run_id, token).unlink(missing_ok=True)


def _path(run_id: str, token: str) -> Path:
    digest = hashlib.sha256(token.encode()).hexdigest()  # a token may contain what a file's name may not
    return run_folder(run_id) / f"ending-{digest[:16]}.json"
