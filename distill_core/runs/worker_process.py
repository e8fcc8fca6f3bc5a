"""One worker process: how it is started and recognised, signalled and reaped, and how its run ends when it is gone.

A worker is recognised by pid, start time and token. The token, 128 random bits, is in the environment the worker was
started with. Where that environment can be read the token decides, else the start time does; the start time is counted
from the start of the system where possible, because the time of day moves when the clock is set. A process at the pid
that fails the test is another process and is never signalled.

A worker that exists but is silent is not marked lost: its device is not free, and a machine that slept looks the same.
Whether to stop it is the user's choice.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from distill_core.errors import RunError, StoreError
from distill_core.paths import CODE, home, run_folder
from distill_core.runs import lifecycle
from distill_core.runs.database import BusyError, FullError
from distill_core.runs.log import LOG_NAME
from distill_core.runs.pending_end import read_pending_end, remove_pending_end
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.shell_command import python
from distill_core.storage.checkpoints import LAST, delete_obsolete_checkpoints, repair_checkpoints

TOKEN_VARIABLE = "DISTILL_RUN_TOKEN"
FOREGROUND = "foreground:"  # prefix of the token of a run that its caller's own process trains
# -P keeps the working directory off sys.path.
WORKER: tuple[str, ...] = (python(), "-P", "-m", "distill_core.worker")
_SAME_START_SECONDS = 2.0  # two readings of one process' start time by psutil may differ by this much


def find_worker(run: Run) -> psutil.Process | None:
    """Return the process that trains a run; None where it is gone or its pid belongs to another process."""
    if run.pid is None or run.pid_started is None or not run.token:
        return None
    try:
        process = psutil.Process(run.pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # exited, not yet reaped
            return None
        # create_time is for systems without /proc, and for runs that an older version started.
        difference = abs(process.create_time() - run.pid_started)
        same_start = process_start(process) == run.pid_started or difference <= _SAME_START_SECONDS
        if _in_foreground(run):
            return process if same_start else None
        try:
            environment = process.environ()  # empty for a moment while the kernel loads the program
            has_token = environment.get(TOKEN_VARIABLE) == run.token if environment else same_start
        except psutil.AccessDenied:  # another user's process, or a system that does not show environments
            has_token = same_start
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if has_token else None


def process_start(process: psutil.Process) -> float:
    """Return when a process began: on Linux seconds since the system's start, which setting the clock does not move.

    Elsewhere the time that psutil reports. Raises psutil.NoSuchProcess where the process is gone.
    """
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_bytes()
        ticks = stat.rpartition(b")")[2].split()[19]  # field 22 of proc(5); the name in field 2 may contain spaces
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except OSError:  # not Linux, or the process is gone, which psutil then reports
        return float(process.create_time())


def start_worker(store: Store, run: Run, command: tuple[str, ...], continue_queue: Callable[[], object]) -> None:
    """Start the worker of a claimed run in its own session; its output goes to the run's log.

    A thread reaps the worker when it exits and then calls `continue_queue`. A worker that cannot be started fails the
    run.
    """
    token = str(run.token)
    folder = run_folder(run.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG_NAME).open("ab") as log:
            process = subprocess.Popen(
                (*command, run.id),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_worker_environment(token),
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        store.end(run.id, token, "failed", lifecycle.NOT_STARTED.format(error))
        return
    arguments = (store, run.id, token, process, continue_queue)
    threading.Thread(target=reap, args=arguments, name=f"worker-{run.id}", daemon=True).start()
    with contextlib.suppress(psutil.NoSuchProcess, BusyError):  # exited already: the thread ends the run
        # The worker records its pid, too, but only after its imports; until then find_worker needs this.
        store.attach(run.id, token, process.pid, process_start(psutil.Process(process.pid)))


def _worker_environment(token: str) -> dict[str, str]:
    # Waiting threads must sleep: spinning, they starve the web server that shares the cores.
    return (
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


def reap(
    store: Store,
    run_id: str,
    token: str,
    process: "subprocess.Popen[bytes]",
    continue_queue: Callable[[], object],
) -> None:
    """Wait for a worker's exit, so that it leaves no zombie; end its run if it did not, and continue the queue."""
    exit_code = process.wait()
    with contextlib.suppress(StoreError):  # busy for long, or its folder is gone: the next `reconcile` does the same
        with contextlib.suppress(RunError):  # deleted meanwhile
            run = store.get(run_id)
            if run.state == "running" and run.token == token:
                mark_lost(store, run, exit_code)
            else:
                clean_run_folder(store, run_id)
        continue_queue()


def enforce_stop(store: Store, run: Run) -> None:
    """End a running run whose worker is gone, and enforce an overdue stop as `lifecycle` says."""
    if find_worker(run) is None:
        starting = run.pid is None and time.time() - (run.started or 0.0) < lifecycle.START_SECONDS
        # A worker that has not recorded its pid may be waiting for a busy store.
        if not starting and (run.pid is not None or not _processes_with_token(run)):
            mark_lost(store, run)
        return
    action = lifecycle.stop_action(run.stop_requested, time.time())
    if action == "terminate":
        _signal(run, signal.SIGTERM)
    elif action == "kill":
        _signal(run, signal.SIGKILL)
        deadline = time.monotonic() + lifecycle.REAP_SECONDS
        while (gone := find_worker(run) is None) is False and time.monotonic() < deadline:
            time.sleep(0.02)
        if gone:
            mark_lost(store, run)


def mark_lost(store: Store, run: Run, exit_code: int | None = None) -> None:
    """End a run whose worker is gone: as the worker decided, else as lost, or by force if a stop was requested."""
    ending = read_pending_end(run.id, str(run.token)) or lifecycle.ending_lost(run.step, run.phase, run.pid, exit_code)
    # False where the worker has just ended the run itself; its token may then belong to the next worker being started.
    if store.end(run.id, str(run.token), *ending, saved_student(run.id)):
        remove_pending_end(run.id, str(run.token))
        _kill_leftovers(run)
        clean_run_folder(store, run.id)


def saved_student(run_id: str) -> Path | None:
    """Return the folder of a run's last checkpoint, which the store need not know yet; None where there is none."""
    student = run_folder(run_id) / LAST
    return student if student.exists() else None


def ending_by_force(run: Run) -> lifecycle.Ending:
    """Return the end of a run whose worker did not end in time after the request to stop."""
    return lifecycle.ending_by_force(run.stop_kind, run.step, run.phase, run.model_path is not None)


def clean_run_folder(store: Store, run_id: str) -> None:
    """Delete half-written checkpoints, and of a finished run also the files it no longer needs.

    Does nothing where the run has been deleted or a process trains it. A run whose cleaning a full disk prevents is
    whole; it is cleaned when the disk has space again.
    """
    with contextlib.suppress(FullError):
        with store.lock_ended(run_id) as ended:
            if ended:
                repair_checkpoints(run_folder(run_id))
                run = store.get(run_id)
                if run.state == "finished":
                    delete_obsolete_checkpoints(run_folder(run_id), run.config.keep)
        if ended:
            store.mark_clean(run_id)


def wake_worker(run: Run) -> None:
    """Continue a frozen worker (SIGSTOP): it may hold the store's lock, and can save and end only when awake."""
    process = find_worker(run)
    with contextlib.suppress(psutil.NoSuchProcess):  # exited meanwhile
        if process is not None and process.status() == psutil.STATUS_STOPPED:
            _signal(run, signal.SIGCONT)


def _signal(run: Run, number: signal.Signals) -> None:
    """Signal a worker's process group, or the process alone where it leads no group."""
    process = find_worker(run)
    if process is None:
        return
    # It may exit meanwhile, or belong to another user: then the run remains shown as stopping.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not _in_foreground(run) and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def _kill_leftovers(run: Run) -> None:
    """Kill the processes that a dead worker started and left behind."""
    for process in _processes_with_token(run):
        with contextlib.suppress(psutil.Error):  # exited meanwhile
            process.kill()


def _processes_with_token(run: Run) -> list[psutil.Process]:
    """Return the processes that have a run's token in their environment: its worker and the worker's children."""
    processes: list[psutil.Process] = []
    for process in () if _in_foreground(run) else psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # exited meanwhile, or another user's
            if process.environ().get(TOKEN_VARIABLE) == run.token:
                processes.append(process)
    return processes


def _in_foreground(run: Run) -> bool:
    return run.token is not None and run.token.startswith(FOREGROUND)
