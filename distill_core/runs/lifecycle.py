"""The life of a run as data: its states and the moves between them, the deadlines, and the words of each end.

Store, scheduler, worker and pages read it from here. Nothing in this module touches a process or the store.

How a stop is enforced, in seconds since it was requested:
    0            the request is in the store; the worker sees it with its next heartbeat, saves the student and ends
    TERM_AFTER   SIGTERM
    KILL_AFTER   SIGKILL by any process that calls `reconcile`; without one, the worker ends itself
"""

import re
import signal
from typing import Literal, NamedTuple

RunState = Literal["queued", "running", "paused", "finished", "failed", "stopped", "lost"]
StopKind = Literal["stop", "pause"]  # what can be requested of a running run
StopAction = Literal["ask", "terminate", "kill"]

# From each state, the states that may follow it.
EDGES: dict[RunState, tuple[RunState, ...]] = {
    "queued": ("running", "paused", "stopped", "failed"),
    "running": ("finished", "paused", "stopped", "failed", "lost"),
    "paused": ("queued",),
    "stopped": ("queued",),
    "failed": ("queued",),
    "lost": ("queued",),
    "finished": (),
}
ACTIVE: tuple[RunState, ...] = ("queued", "running")
INTERRUPTED: tuple[RunState, ...] = ("paused", "stopped", "failed", "lost")  # may be resumed
ENDED: tuple[RunState, ...] = ("finished", *INTERRUPTED)
FAULTY: tuple[RunState, ...] = ("failed", "lost")  # ended though nobody requested it

# Seconds.
HEARTBEAT_SECONDS = 1.0  # between two heartbeats of a worker
HEARTBEAT_LATE_SECONDS = 20.0  # since the last heartbeat, after which pages report the worker's silence
START_SECONDS = 30.0  # a claimed run that has no process for longer was never started
TERM_AFTER = 6.0
KILL_AFTER = 7.5
REAP_SECONDS = 1.0  # how long to wait for a killed worker; after that, the next `reconcile` ends the run
STOP_SECONDS = 10.0  # from the request to the end at most, as the pages promise: KILL_AFTER, REAP_SECONDS and a reserve
STOP_WAIT_SECONDS = 30.0  # how long a command waits for the end of a run it stopped

CANCELLED = {"stop": "Cancelled while it was queued.", "pause": "Paused while it was queued."}
INTERRUPTED_BEFORE_START = "Interrupted before it began."
INTERRUPTED_AGAIN = "Interrupted; the last checkpoint, if there was one, is kept."
NOT_STARTED = "The worker could not be started: {}."
SETTINGS_DAMAGED = "Its settings in the store are damaged: {}"


class Ending(NamedTuple):
    """The state a run ends in and the sentence that says why; the sentence of an ordinary finish is empty."""

    state: RunState
    reason: str = ""


def states_before(state: RunState) -> tuple[RunState, ...]:
    """Return the states from which a run may come to this one."""
    return tuple(start for start, following in EDGES.items() if state in following)


def stop_action(stop_requested: float | None, now: float) -> StopAction | None:
    """Return how a stop requested at one time is enforced at another; None where none is requested."""
    if stop_requested is None:
        return None
    elapsed = now - stop_requested
    return "kill" if elapsed >= KILL_AFTER else "terminate" if elapsed >= TERM_AFTER else "ask"


def stopped_state(kind: StopKind | None) -> RunState:
    """Return the state of a run that ended because a stop of this kind was requested."""
    return "paused" if kind == "pause" else "stopped"


def ending_on_request(kind: StopKind | None, step: int, student_saved: bool) -> Ending:
    """Return the end of a run whose worker did what was requested."""
    state = stopped_state(kind)
    student = "the student at that step was saved" if student_saved else "there was no student yet"
    return Ending(state, f"{state.capitalize()} on request at step {step}; {student}.")


def ending_by_force(kind: StopKind | None, step: int, phase: str, has_checkpoint: bool) -> Ending:
    """Return the end of a run whose worker did not end within KILL_AFTER seconds of the request."""
    state = stopped_state(kind)
    checkpoint = "its last checkpoint is kept" if has_checkpoint else "there was no checkpoint yet"
    return Ending(
        state, f"{state.capitalize()} by force {_place(step, phase)}, it did not end by itself; {checkpoint}."
    )


def in_one_line(ending: Ending) -> str:
    """Return an end as one line: its state and its reason, which may begin with the state."""
    if ending.reason.startswith(ending.state.capitalize()):
        return ending.reason
    return f"{ending.state}: {ending.reason}" if ending.reason else ending.state


def ending_as_requested(ending: Ending, kind: StopKind | None, step: int, phase: str, has_checkpoint: bool) -> Ending:
    """Return how a run ends, from how its worker ended it and the kind of stop that was requested last.

    A stop replaces the pause that it followed, and a run whose worker is gone ended as requested. Other ends remain.
    """
    if ending.state == "lost" and kind is not None:
        return ending_by_force(kind, step, phase, has_checkpoint)
    if ending.state == "paused" and kind == "stop":
        words = {state: stopped_state(state).capitalize() for state in ("pause", "stop")}
        return Ending("stopped", re.sub(f"^{words['pause']}\\b", words["stop"], ending.reason))
    return ending


def ending_lost(step: int, phase: str, pid: int | None, exit_code: int | None) -> Ending:
    """Return the end of a run whose worker is gone; `exit_code`: None where only its absence is known."""
    return Ending("lost", f"{_exit_cause(pid, exit_code)} The run was {_place(step, phase)}; see the end of its log.")


def _place(step: int, phase: str) -> str:
    return f"at step {step}" + (f" ({phase})" if phase else "")


def _exit_cause(pid: int | None, exit_code: int | None) -> str:
    if exit_code is None and pid is None:
        return "The worker process was never started."
    if exit_code is None:
        return f"The worker process {pid} is gone: killed, out of memory, or the machine was switched off."
    if exit_code == -signal.SIGKILL:
        return "The worker process was killed (SIGKILL), by a user or by the system for lack of memory."
    if exit_code < 0:
        return f"The worker process died of signal {-exit_code} ({signal.strsignal(-exit_code)})."
    return f"The worker process ended with exit code {exit_code} without giving a reason."
