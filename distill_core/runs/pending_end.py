"""The end a worker has decided on, in a file of the run's folder until it is in the store.

The store may be busy or its disk full when a run ends, and the worker may be killed while it waits. Then whoever finds
the worker gone ends the run with what this file says, so that a student saved on request does not count as lost.
"""

import contextlib
import json
import os
from typing import cast

from distill_core.paths import run_folder
from distill_core.runs.lifecycle import Ending, RunState, states_before

PENDING_END = "ending.json"


def write_pending_end(run_id: str, token: str, ending: Ending) -> None:
    """Write how the attempt with this token ends; does nothing on a disk that is full."""
    path = run_folder(run_id) / PENDING_END
    part = path.with_suffix(".part")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps({"token": token, **ending._asdict()}), encoding="utf-8")
        os.replace(part, path)


def read_pending_end(run_id: str, token: str) -> Ending | None:
    """Return how the attempt with this token ends; None where it did not come that far or the file is damaged."""
    try:
        values = json.loads((run_folder(run_id) / PENDING_END).read_text(encoding="utf-8"))
        state, reason = cast(RunState, values["state"]), str(values["reason"])
        return Ending(state, reason) if values["token"] == token and "running" in states_before(state) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_pending_end(run_id: str) -> None:
    """Delete the file once the end is in the store."""
    with contextlib.suppress(OSError):
        (run_folder(run_id) / PENDING_END).unlink(missing_ok=True)
