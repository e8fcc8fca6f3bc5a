"""Train one run: `python -m distill_core.worker RUN_ID`, or in the foreground of the command line.

The settings come from the store and the events from the session that `training.session.prepare` returns; numbers and
checkpoints are saved. Everything heavy is imported inside `_open_session`. A stop, requested in the store, by SIGTERM
or by Ctrl-C, takes effect between two events; a thread writes the heartbeat during phases without events.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TextIO

import psutil

from distill_core.config.run_config import RunConfig
from distill_core.errors import DistillError, RunError, StoreError
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs import lifecycle
from distill_core.runs.events import DataUsed, Ended, Event, Measured, Note, Phase
from distill_core.runs.lifecycle import Ending, StopKind
from distill_core.runs.log import LOG_NAME
from distill_core.runs.metric_names import VALIDATION
from distill_core.runs.pending_end import remove_pending_end, write_pending_end
from distill_core.runs.recorder import Recorder, retry_while_busy
from distill_core.runs.run import Run
from distill_core.runs.scheduler import reconcile
from distill_core.runs.store import Store
from distill_core.runs.worker_process import (
    TOKEN_VARIABLE,
    clean_run_folder,
    ending_by_force,
    process_start,
    saved_student,
)
from distill_core.storage.checkpoints import LAST, repair_checkpoints, save_last_as_best


class RunSession(Protocol):
    """A training that can be run: what `training.session.prepare` returns.

    `begin`: the step of the checkpoint that it continues from, 0 for a run from the beginning.
    """

    begin: int

    @property
    def best(self) -> int:
        """The step of the best evaluation so far, 0 where there is none."""

    def events(self) -> Iterator[Event]:
        """Train, yielding what happens; closing the iterator ends it. Raises DistillError with the cause.

        Measurements begin after step `begin`.
        """

    def save(self, path: Path, record: dict[str, Any]) -> None:
        """Write the student as it is now, in one step, with a record of where it is from."""


def _open_session(config: RunConfig, checkpoint: Path | None) -> RunSession:
    from distill_core.training.session import prepare  # here: torch and transformers take seconds

    return prepare(config, checkpoint)


class _Execution:
    """One run in this process: consumes the events of its session, writes store, log and checkpoints."""

    def __init__(self, store: Store, run: Run, log: TextIO, on_event: Callable[[Event], None] | None) -> None:
        self.store, self.run, self.token = store, run, str(run.token)
        self.recorder = Recorder(store, run.id, self.token)
        self.stop_asked = threading.Event()
        self.stop_kind: StopKind | None = run.stop_kind  # as of the last heartbeat
        self.ending: Ending | None = None  # decided once the student is saved; no later error changes it
        self._log, self._on_event = log, on_event
        self._student = run_folder(run.id) / LAST
        self._step = 0
        self._saved_step: int | None = None
        self._ended_early = ""
        self._data: list[DataUsed] = []

    def log_line(self, text: str) -> None:
        """Append one line to the run's log; a full disk is ignored, as the store still gets the run's end."""
        with contextlib.suppress(OSError):
            self._log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def execute(self) -> Ending:
        """Train, and return how the run ends; errors become its reason."""
        try:
            self._train()
        except Exception as error:  # any error must show as the run's reason
            if not isinstance(error, DistillError):
                self.log_line(traceback.format_exc())
            if self.ending is None:
                reason = str(error) if isinstance(error, DistillError) else explain_failure(error, self._student.parent)
                return Ending("failed", reason)
            self.log_line(f"after the student was saved: {error}")
        assert self.ending is not None
        return self.ending

    def flush_rest(self) -> None:
        """Write what has not reached the store yet, as far as the store allows."""
        try:
            retry_while_busy(self.recorder.flush)
        except StoreError as error:
            self.log_line(f"the last points are not in the store: {error}")

    def clean_up(self) -> None:
        """Delete the files a finished run no longer needs; before it is finished in the store it may be resumed."""
        try:
            clean_run_folder(self.store, self.run.id)
        except (OSError, StoreError) as error:
            self.log_line(f"files that are no longer needed could not be deleted: {error}")

    def _train(self) -> None:
        """Run the session to its end or to a stop, saving checkpoints, and decide how the run ends."""
        self._emit(Phase("loading", "libraries"))
        session = self._open()
        unsaved = over = False  # over: nothing is left to do, so that a stop comes too late
        with _closed_after(session.events()) as events:
            for event in events:
                self._emit(event)
                over = over or isinstance(event, Ended)
                if isinstance(event, Measured):
                    self._step, unsaved = event.step, event.step > 0
                    if any(name.startswith(VALIDATION) for name in event.values):
                        over = over or event.step == self.run.config.steps
                        self._save(session, over)
                        unsaved = False
                if self.stop_asked.is_set() and not over:
                    break
            else:
                self._save_last(session, unsaved, over=True)
                if self._saved_step != self._step:
                    retry_while_busy(self.recorder.flush)
                self._decide(Ending("finished", self._ended_early))
                return
            self._save_last(session, unsaved, over=False)
            self._decide_stopped()  # before the iterator is closed, which may take long

    def _decide(self, ending: Ending) -> None:
        self.ending = ending
        write_pending_end(self.run.id, self.token, ending)

    def _decide_stopped(self) -> None:
        student_saved = self._student.exists()
        # The file comes first: the store may be busy for so long that this process is killed.
        self._decide(lifecycle.ending_on_request(self.stop_kind, self._step, student_saved))
        with contextlib.suppress(StoreError):
            kind = self.store.get(self.run.id).stop_kind  # a stop may have followed a pause
            if kind != self.stop_kind:
                self._decide(lifecycle.ending_on_request(kind, self._step, student_saved))

    def _open(self) -> RunSession:
        """Return the session, resumed from the last checkpoint if there is one; later measurements are deleted.

        RunError where the checkpoint is missing: starting from the beginning would delete all measurements.
        """
        config = replace(self.run.config, device=str(self.run.device))
        repair_checkpoints(self._student.parent)  # what an earlier worker left, which is gone by now
        checkpoint = self._student if (self._student / STATE_FILE).is_file() else None
        if checkpoint is None and self.run.model_path is not None:
            raise RunError(f"The run cannot be resumed: {self._student / STATE_FILE} is gone. Start a new run.")
        session = _open_session(config, checkpoint)
        self._step = session.begin
        retry_while_busy(partial(self.store.rewind, self.run.id, self.token, session.begin or None))
        if session.best == session.begin > 0:  # else the worker was killed before it saved the best
            save_last_as_best(self._student.parent)
        return session

    def _save_last(self, session: RunSession, unsaved: bool, over: bool) -> None:
        if not unsaved:
            return
        self._emit(Phase("saving", "student"))
        try:
            self._save(session, over)
        except StoreError as error:
            if self._saved_step != self._step:
                raise
            self.log_line(f"the student is saved, but the store does not know it yet: {error}")

    def _save(self, session: RunSession, over: bool) -> None:
        """Write a checkpoint and record it in the store, after everything that was measured up to it.

        `over`: whether nothing is left to do, so that a requested stop is not what ends the run.
        """
        retry_while_busy(self.recorder.flush)
        config = self.run.config
        record = {
            "run": self.run.id,
            "task": config.task,
            "teacher": config.teacher,
            "method": config.method,
            "step": self._step,
            "best": session.best,
            "config": asdict(config),
            "data": [asdict(used) for used in self._data],
        }
        session.save(self._student, record)
        self._saved_step = self._step
        if session.best == self._step > 0:
            save_last_as_best(self._student.parent)
        if self.stop_asked.is_set() and not over:
            self._decide_stopped()  # before the store, which may be busy until this process is killed
        self._record_model()

    def _record_model(self) -> None:
        retry_while_busy(partial(self.store.set_model, self.run.id, self.token, self._student))

    def _emit(self, event: Event) -> None:
        if isinstance(event, Phase):
            self.log_line(f"{event.name}: {event.detail}" if event.detail else event.name)
        elif isinstance(event, Note | DataUsed | Ended):
            self.log_line(event.text)
            if isinstance(event, Ended):
                self._ended_early = event.text
            if isinstance(event, DataUsed):
                self._data.append(event)
        elif any(name.startswith(VALIDATION) for name in event.values):
            self.log_line(
                f"step {event.step}: " + ", ".join(f"{name} {value:.4f}" for name, value in event.values.items())
            )
        self.recorder.record(event)
        if self._on_event is not None:
            self._on_event(event)


class _Heartbeat(threading.Thread):
    """Writes the heartbeat, passes on a requested stop, and ends a worker that does not end by itself.

    The last only with `may_exit`, in a process that does nothing but this run: where `lifecycle` says that a worker is
    to be killed, it ends the run in the store and kills the process with its children.
    """

    def __init__(self, execution: _Execution, may_exit: bool) -> None:
        super().__init__(name=f"heartbeat-{execution.run.id}", daemon=True)
        self._execution, self._may_exit = execution, may_exit
        self._closed = threading.Event()

    def run(self) -> None:
        """Write a heartbeat every HEARTBEAT_SECONDS until `close`."""
        while not self._closed.wait(lifecycle.HEARTBEAT_SECONDS):
            try:
                self._beat()
            except Exception as error:  # the main thread meets it, too, and ends the run
                self._execution.log_line(f"heartbeat not written: {error}")

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._closed.set()
        self.join()

    def _beat(self) -> None:
        execution = self._execution
        try:
            run = execution.recorder.flush()
        except StoreError as error:  # busy, or the disk is full: a requested stop must be seen all the same
            execution.log_line(f"heartbeat not written: {error}")
            stored = execution.store.get(execution.run.id)
            run = stored if stored.state == "running" and stored.token == execution.token else None
        if run is None:
            execution.log_line("the store no longer counts this process as the run's worker; ending")
            execution.stop_asked.set()
        elif run.stop_requested is None:
            if execution.stop_asked.is_set():  # by a signal: the pages must show it
                execution.store.request_stop(run.id, "stop")
        else:
            execution.stop_kind = run.stop_kind
            execution.stop_asked.set()
            if self._may_exit and lifecycle.stop_action(run.stop_requested, time.time()) == "kill":
                self._end_process(run)

    def _end_process(self, run: Run) -> None:
        execution = self._execution
        ending = execution.ending or ending_by_force(run)
        execution.store.end(run.id, execution.token, *ending, saved_student(run.id))
        remove_pending_end(run.id, execution.token)
        execution.log_line("the process did not end in time after the request to stop; it kills itself")
        with contextlib.suppress(StoreError):  # a busy store: the next `reconcile` does the same
            reconcile(execution.store)
            clean_run_folder(execution.store, run.id)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def explain_failure(error: BaseException, folder: Path) -> str:
    """Return, in words for the user, why an exception that is not this library's own ended a run."""
    text = str(error)
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "No space left" in text:
        return f"No space left on the disk that holds {folder}. Free some and start the run again."
    out_of_memory = type(error).__name__ == "OutOfMemoryError" or "out of memory" in text or "can't allocate" in text
    if isinstance(error, MemoryError) or out_of_memory:
        return "Out of memory. Use a smaller batch or shorter inputs, or close what else uses the device."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def execute_run(store: Store, run: Run, on_event: Callable[[Event], None] | None = None, may_exit: bool = False) -> Run:
    """Train a run that this process has claimed, and return it once it has ended.

    `on_event` is called with every event. `may_exit`: see `_Heartbeat`. StoreError where the end cannot be written to
    the store; it is then in the run's folder, and the next `reconcile` of any process writes it.
    """
    folder = run_folder(run.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / LOG_NAME).open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        retry_while_busy(partial(store.end, run.id, str(run.token), "failed", explain_failure(error, folder)))
        return store.get(run.id)
    with opened as log:
        execution = _Execution(store, run, log, on_event)
        with _stop_on_signals(execution.stop_asked):  # until the end is in the store
            ending = _execute_with_heartbeat(execution, may_exit)
            try:
                execution.flush_rest()
                ended = retry_while_busy(partial(store.end, run.id, execution.token, *ending, saved_student(run.id)))
            except KeyboardInterrupt:  # a third Ctrl-C: write at once or not at all
                ended = store.end(run.id, execution.token, *ending, saved_student(run.id))
            remove_pending_end(run.id, execution.token)
            if ended and ending.state == "finished":
                execution.clean_up()
        ended_run = store.get(run.id)  # a stop that was requested last may have changed the end
        execution.log_line(lifecycle.in_one_line(Ending(ended_run.state, ended_run.reason) if ended else ending))
    return ended_run


def _execute_with_heartbeat(execution: _Execution, may_exit: bool) -> Ending:
    heartbeat = _Heartbeat(execution, may_exit)
    heartbeat.start()
    try:
        return execution.execute()
    except KeyboardInterrupt:  # a second Ctrl-C
        return execution.ending or Ending("stopped", lifecycle.INTERRUPTED_AGAIN)
    finally:
        heartbeat.close()


@contextlib.contextmanager
def _closed_after(events: Iterator[Event]) -> Iterator[Iterator[Event]]:
    """Close an iterator that can be closed when its user is done with it."""
    try:
        yield events
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


@contextlib.contextmanager
def _stop_on_signals(stop_asked: threading.Event) -> Iterator[None]:
    """Turn SIGTERM and the first Ctrl-C into a stop; a second Ctrl-C interrupts. Only the main thread can."""

    def ask(number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and stop_asked.is_set():
            raise KeyboardInterrupt
        stop_asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str]) -> int:
    """Train the run that the only argument names, in the process started for it; return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m distill_core.worker RUN_ID (started by the app)", file=sys.stderr)
        return 2
    store, me = Store(), psutil.Process()
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not retry_while_busy(partial(store.attach, arguments[0], token, me.pid, process_start(me))):
        print(
            f"Run {arguments[0]!r} was not assigned to this process. Runs are started by the app or by `distill`.",
            file=sys.stderr,
        )
        return 2
    execute_run(store, store.get(arguments[0]), may_exit=True)
    reconcile(store)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
