"""The queue and its worker processes: submit, start, stop, and find out about the dead.

There is no manager process. Whoever looks at the queue calls `pump`, which is safe from any number of
processes at once: the page on every tick, a worker when it ends, and a thread beside each started worker
that waits for its exit. So the queue goes on without a page, and a crash is noticed at once or at the
next look.

A worker is known by pid, start time and token. The token, 128 random bits, stands in the environment it
was started with: where that can be read it decides, else the start time does. That is counted from the
system's own start where that can be had, since the time of day moves when the clock is set. A process at
the pid that fails the test is another one and is never signalled. A worker that is there but silent is not
given up: its device is not free, and a machine that slept looks the same. Whether to stop it is the
user's choice.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from distill_core.config.run_config import RunConfig
from distill_core.data.datasets import pin_source
from distill_core.data.user_datasets import USER_SOURCE_PREFIX, remove_user_dataset
from distill_core.devices import devices_for
from distill_core.errors import DataError, RunError, StoreError
from distill_core.paths import CODE, STATE_FILE, home, run_folder
from distill_core.runs.database import BusyError
from distill_core.runs.log import LOG_NAME
from distill_core.runs.run import ACTIVE, INTERRUPTED, Run, Wish
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import delete_obsolete_checkpoints, repair_checkpoints

TOKEN_VARIABLE = "DISTILL_RUN_TOKEN"
FOREGROUND = "foreground:"  # begins the token of a run that works inside the process of its caller
WORKER: tuple[str, ...] = (sys.executable, "-P", "-m", "distill_core.worker")  # -P: the current folder is no code

TERM_AFTER = 6.0  # seconds from asking a worker to stop to SIGTERM
KILL_AFTER = 7.5  # ... and to SIGKILL
START_SECONDS = 30.0  # a claimed run without a process for longer was never started
_SAME_START = 2.0  # seconds two of psutil's reports of one process' start time may differ
_ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none that look alike


def submit(store: Store, config: RunConfig) -> str:
    """Queue a run, its settings pinned, and return its id; every call makes one run.

    ConfigError for a device that is not here.
    """
    devices_for(config.device)
    fast = pinned(config)
    while True:
        letters = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{letters}"
        if store.add(run_id, fast):
            return run_id


def pinned(config: RunConfig) -> RunConfig:
    """Return a run's settings as any process would read them, wherever and however it was started.

    Relative folders become absolute, and `auto` data what it means now.
    """
    student = config.student_init if config.made_from_teacher else _absolute(config.student_init)
    return replace(
        config,
        teacher=_absolute(config.teacher),
        student_init=student,
        source=pin_source(config.task, config.source),
    )


def pump(store: Store, command: Sequence[str] | None = None) -> list[str]:
    """Give up dead runs, press on with stops, start the next run of each free device; return the started ids.

    `command` is what a worker is started with, before the run's id.
    """
    for run in store.runs(("running",)):
        _look_after(store, run)
    for run_id in store.unsettled():
        with contextlib.suppress(OSError):  # a disk that lets go of nothing: the run is whole, it takes more room
            tidy(store, run_id)
    started: list[str] = []
    while store.holds(("queued",)):  # looked at first: claiming shuts out all other writers
        run_or_none = store.claim(devices_for, secrets.token_hex(16))
        if run_or_none is None:
            break
        _start(store, run_or_none, tuple(command or WORKER))
        started.append(run_or_none.id)
    return started


def stop(store: Store, run_id: str, wish: Wish = "stop") -> Run:
    """Ask a run to stop, or to pause, and return it as it is now: at its end if it was queued, else on its way there.

    Does not wait. A worker saves a checkpoint and ends; one that does not is ended by `pump`. Either way the run can go
    on later; what is paused is meant to. RunError for an unknown run; a run that has ended stays as it is.
    """
    _wake(store.get(run_id))
    if not store.cancel(run_id, wish):
        store.request(run_id, wish)
    return store.get(run_id)


def can_resume(run: Run) -> bool:
    """Say whether an interrupted run can go on: its last checkpoint is one to go on from, or it has none yet."""
    if run.state not in INTERRUPTED:
        return False
    return run.model_path is None or (run.model_path / STATE_FILE).is_file()


def resume(store: Store, run_id: str) -> Run:
    """Put an interrupted run back in the queue, to go on from its last checkpoint, and return it as it is now.

    RunError where it is not interrupted, or has no checkpoint to go on from.
    """
    if not store.requeue(run_id, can_resume):
        run = store.get(run_id)
        why = "its checkpoint has no training state" if run.state in INTERRUPTED else f"it is {run.status}"
        raise RunError(f"Run {run_id} cannot go on: {why}. Start a new run with the same settings.")
    return store.get(run_id)


def wait(store: Store, run_id: str, seconds: float, command: Sequence[str] | None = None) -> Run:
    """Pump until a run has ended or the time is over; return it as it then is."""
    deadline = time.monotonic() + seconds
    while (run := store.get(run_id)).active and time.monotonic() < deadline:
        pump(store, command)
        time.sleep(0.2)
    return run


def remove_data(store: Store, data_id: str) -> None:
    """Remove own data; DataError where there is none, or while a run waits or works that reads it.

    Runs that have ended keep their record of it, but cannot be started again.
    """
    source = USER_SOURCE_PREFIX + data_id.removeprefix(USER_SOURCE_PREFIX)
    readers = [run.title for run in store.runs(ACTIVE) if run.config.source == source]
    if readers:
        raise DataError(f"{source} is read by {', '.join(readers)}; stop the run first, or wait for its end.")
    remove_user_dataset(data_id)


def worker_process(run: Run) -> psutil.Process | None:
    """Return the process that works on a run, None where it is gone or its pid is another's by now."""
    if run.pid is None or run.pid_started is None or not run.token:
        return None
    try:
        process = psutil.Process(run.pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # ended, but its parent has not asked how
            return None
        off = abs(process.create_time() - run.pid_started)  # for no /proc, and for what an older version noted
        began_then = process_start(process) == run.pid_started or off <= _SAME_START
        if _in_foreground(run):
            return process if began_then else None
        try:
            environment = process.environ()  # empty: its program is just being loaded, in the first moment of a process
            carries_token = environment.get(TOKEN_VARIABLE) == run.token if environment else began_then
        except psutil.AccessDenied:  # another user's process, or a system that does not tell
            carries_token = began_then
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if carries_token else None


def process_start(process: psutil.Process) -> float:
    """Return when a process began: seconds since the system's start on Linux, which no clock setting moves.

    Elsewhere what psutil reports. Raises psutil.NoSuchProcess where it is gone.
    """
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_bytes()
        ticks = stat.rpartition(b")")[2].split()[19]  # field 22 of proc(5); the name in field 2 may hold spaces
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except OSError:  # no Linux, or gone, which psutil then says
        return float(process.create_time())


def _look_after(store: Store, run: Run) -> None:
    """Give a running run up if its worker is gone; press on if it should have stopped."""
    if worker_process(run) is None:
        starting = run.pid is None and time.time() - (run.started or 0.0) < START_SECONDS
        if not starting and (run.pid is not None or not _carriers(run)):  # it may wait to note itself in a busy store
            _give_up(store, run)
        return
    asked = 0.0 if run.stop_requested is None else time.time() - run.stop_requested
    if asked >= KILL_AFTER:
        _signal(run, signal.SIGKILL)
        deadline = time.monotonic() + 1.0
        while (gone := worker_process(run) is None) is False and time.monotonic() < deadline:
            time.sleep(0.02)
        if gone:
            _give_up(store, run)
    elif asked >= TERM_AFTER:
        _signal(run, signal.SIGTERM)


def _signal(run: Run, number: signal.Signals) -> None:
    """Signal a run's process group, or only its process where it leads none; nothing unless it is the worker."""
    process = worker_process(run)
    if process is None:
        return
    # It may end meanwhile, or belong to another user: then the run goes on being shown as stopping.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not _in_foreground(run) and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def _wake(run: Run) -> None:
    """Let a frozen worker (SIGSTOP) go on: it may hold the store's lock, and only awake can it save and end."""
    process = worker_process(run)
    with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
        if process is not None and process.status() == psutil.STATUS_STOPPED:
            _signal(run, signal.SIGCONT)


def _give_up(store: Store, run: Run, exit_code: int | None = None) -> None:
    """End a run whose worker is gone: stopped if that was asked for, else lost, with the cause in words."""
    where = f"at step {run.step}" + (f" ({run.phase})" if run.phase else "")
    if run.stop_requested is not None:
        kept = "its last checkpoint is kept" if run.model_path else "there was no checkpoint yet"
        words = f"{run.interrupted_as.capitalize()} by force {where}, it did not end by itself; {kept}."
        ended = store.end(run.id, str(run.token), run.interrupted_as, words)
    else:
        cause = f"{_cause(run, exit_code)} The run was {where}; see the end of its log."
        ended = store.end(run.id, str(run.token), "lost", cause)
    if ended:  # else it ended by itself just now, and what carries its token may be the next worker being born
        _kill_leftovers(run)
        tidy(store, run.id)


def tidy(store: Store, run_id: str) -> None:
    """Undo what a dead worker left of half a checkpoint, and delete what a finished run needs no more.

    Nothing where the run has been deleted or another process works on it.
    """
    with store.at_rest(run_id) as rests:
        if rests:
            repair_checkpoints(run_folder(run_id))
            run = store.get(run_id)
            if run.state == "finished":
                delete_obsolete_checkpoints(run_folder(run_id), run.config.keep)
    if rests:
        store.settle(run_id)


def _cause(run: Run, exit_code: int | None) -> str:
    if exit_code is None and run.pid is None:
        return "The worker process was never started."
    if exit_code is None:
        return f"The worker process {run.pid} is gone: killed, out of memory, or the machine was switched off."
    if exit_code == -signal.SIGKILL:
        return "The worker process was killed (SIGKILL): by someone, or by the system for lack of memory."
    if exit_code < 0:
        return f"The worker process died of signal {-exit_code} ({signal.strsignal(-exit_code)})."
    return f"The worker process ended with exit code {exit_code} without saying why."


def _kill_leftovers(run: Run) -> None:
    """Kill what a dead worker started and left behind, known by the token in its environment."""
    for process in _carriers(run):
        with contextlib.suppress(psutil.Error):  # ended meanwhile
            process.kill()


def _carriers(run: Run) -> list[psutil.Process]:
    """Return the processes that have a run's token in their environment: its worker, and what that started."""
    found: list[psutil.Process] = []
    for process in () if _in_foreground(run) else psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or another user's: not ours
            if process.environ().get(TOKEN_VARIABLE) == run.token:
                found.append(process)
    return found


def _start(store: Store, run: Run, command: tuple[str, ...]) -> None:
    """Start the worker of a claimed run in a session of its own, its output going to the run's log."""
    token = str(run.token)
    # Threads that wait must sleep: spinning, they starve the web server that shares the cores.
    environment = (
        {"OMP_WAIT_POLICY": "PASSIVE"}
        | os.environ
        | {
            TOKEN_VARIABLE: token,
            "DISTILL_HOME": str(home().resolve()),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH")))),
            "PYTHONUNBUFFERED": "1",
            "PYTHONUTF8": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # in a log they would push out the lines that matter
            "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its trace in the log
        }
    )
    folder = run_folder(run.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG_NAME).open("ab") as log:
            process = subprocess.Popen(
                (*command, run.id),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        store.end(run.id, token, "failed", f"The worker could not be started: {error}.")
        return
    arguments = (store, run.id, token, process, command)
    threading.Thread(target=_see_off, args=arguments, name=f"worker-{run.id}", daemon=True).start()
    with contextlib.suppress(psutil.NoSuchProcess, BusyError):  # ended already: the thread says how
        # The worker notes itself, too; until then a look at the run must find it.
        store.attach(run.id, token, process.pid, process_start(psutil.Process(process.pid)))


def _see_off(store: Store, run_id: str, token: str, process: subprocess.Popen[bytes], command: tuple[str, ...]) -> None:
    """Wait for a worker's exit, so that it leaves no zombie, give its run up if it did not end it, go on."""
    exit_code = process.wait()
    with contextlib.suppress(StoreError):  # busy for long, or its folder is gone: whoever looks next does the same
        with contextlib.suppress(RunError):  # deleted meanwhile
            run = store.get(run_id)
            if run.state == "running" and run.token == token:
                _give_up(store, run, exit_code)
            else:
                tidy(store, run_id)
        pump(store, command)


def _in_foreground(run: Run) -> bool:
    return run.token is not None and run.token.startswith(FOREGROUND)


def _absolute(model_id: str) -> str:
    """Return the absolute path where an id is that of an existing folder, any other id as it is."""
    if model_id.startswith(("bundled/", "run/")):
        return model_id
    folder = Path(model_id).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model_id
