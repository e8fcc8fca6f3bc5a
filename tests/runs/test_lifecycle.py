"""A run's life as data: every write of a state obeys the edges, and the stages of a stop come in order."""

import itertools
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError
from distill_core.runs import lifecycle
from distill_core.runs.lifecycle import EDGES, RunState
from distill_core.runs.store import Store
from tests.support.stored_runs import TOKEN, claimed_run, on_cpu

PACKAGE = Path(lifecycle.__file__).parents[1]
Edge = tuple[str, str]


def no_device(name: str) -> tuple[str, ...]:
    raise ConfigError(f"There is no device {name}.")


def claim_with_damaged_settings(store: Store) -> None:
    """Claim a run while the settings of every run in the store are damaged."""
    with store.writing() as connection:
        connection.execute("UPDATE runs SET config = '{'")
    store.claim(on_cpu, TOKEN)


WRITES: dict[str, Callable[[Store], object]] = {  # everything that may write the state of the run "one"
    "claim": lambda store: store.claim(on_cpu, TOKEN),
    "claim without a device": lambda store: store.claim(no_device, TOKEN),
    "claim with damaged settings": claim_with_damaged_settings,
    "cancel": lambda store: store.cancel("one"),
    "pause in the queue": lambda store: store.cancel("one", "pause"),
    "request a stop": lambda store: store.request_stop("one", "stop"),
    "request a pause": lambda store: store.request_stop("one", "pause"),
    "requeue": lambda store: store.requeue("one"),
    "clean": lambda store: store.mark_clean("one"),
    **{f"end as {state}": lambda store, state=state: store.end("one", TOKEN, state) for state in lifecycle.ENDED},
}


def in_state(store: Store, state: RunState) -> None:
    """Add the run "one" and bring it to a state."""
    claimed_run(store)
    if state == "queued":
        store.end("one", TOKEN, "stopped")
        store.requeue("one")
    elif state != "running":
        store.end("one", TOKEN, state)
    assert store.get("one").state == state


def record_changes(store: Store) -> None:
    """Let the store record every change of a state, whichever statement makes it."""
    with closing(sqlite3.connect(store.path)) as connection:
        connection.executescript(
            "CREATE TABLE changes (old TEXT, new TEXT);"
            "CREATE TRIGGER state_changes AFTER UPDATE OF state ON runs WHEN OLD.state != NEW.state"
            " BEGIN INSERT INTO changes VALUES (OLD.state, NEW.state); END"
        )


def changes_after(store: Store, state: RunState, write: Callable[[Store], object]) -> list[Edge]:
    """Return the changes of a state that follow a write to a run in this state."""
    in_state(store, state)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM changes")
        write(store)
        changes = connection.execute("SELECT old, new FROM changes").fetchall()
        connection.execute("DELETE FROM runs")
    return changes


def test_every_write_of_a_state_obeys_the_edges_and_every_edge_is_written(store: Store) -> None:
    record_changes(store)
    written: set[Edge] = set()
    for state, write in itertools.product(EDGES, WRITES):
        changes = changes_after(store, state, WRITES[write])
        assert len(changes) <= 1, (state, write)
        assert all(new in EDGES[state] for _, new in changes), (state, write, changes)
        written.update(changes)
    assert written == {(state, following) for state in EDGES for following in EDGES[state]}


def test_a_new_run_is_queued_and_only_the_store_writes_states(store: Store) -> None:
    assert store.add("one", RunConfig())
    assert store.get("one").state == "queued"
    writes = re.compile(r"UPDATE runs SET [^;]*?\bstate = |INSERT (OR IGNORE )?INTO runs\b")
    files = [file.name for file in PACKAGE.rglob("*.py") if writes.search(file.read_text(encoding="utf-8"))]
    assert files == ["store.py"]


def test_a_move_without_an_edge_is_refused_loudly(store: Store) -> None:
    claimed_run(store)
    with pytest.raises(ValueError, match="cannot become 'queued' from 'running'"):
        store.end("one", TOKEN, "queued")
    assert store.get("one").state == "running"
    store.end("one", TOKEN, "stopped")


def test_the_states_and_their_groups_agree() -> None:
    assert set(lifecycle.ACTIVE) | set(lifecycle.ENDED) == set(EDGES)
    assert not set(lifecycle.ACTIVE) & set(lifecycle.ENDED)
    assert set(lifecycle.states_before("queued")) == set(lifecycle.INTERRUPTED)
    assert set(lifecycle.FAULTY) < set(lifecycle.INTERRUPTED)


def test_a_stop_is_requested_then_terminated_then_killed_within_the_promised_time() -> None:
    seconds = [tenth / 10 for tenth in range(150)]
    actions = [lifecycle.stop_action(1000.0, 1000.0 + second) for second in seconds]
    assert list(dict.fromkeys(actions)) == ["ask", "terminate", "kill"]
    assert seconds[actions.index("terminate")] == lifecycle.TERM_AFTER
    assert seconds[actions.index("kill")] == lifecycle.KILL_AFTER
    assert lifecycle.KILL_AFTER + lifecycle.REAP_SECONDS + lifecycle.HEARTBEAT_SECONDS < lifecycle.STOP_SECONDS
    assert lifecycle.stop_action(None, 1000.0) is None


def test_deadlines_and_end_sentences_are_written_in_the_lifecycle_only() -> None:
    constants = re.compile(r"^(TERM_AFTER|KILL_AFTER|(HEARTBEAT|REAP|START|STOP)_(\w+_)?SECONDS) = ", re.MULTILINE)
    sentences = re.compile(r"[\"'](?:\{[^}]*\} )?(?:on request|by force|Cancelled while|Paused while|Interrupted)")
    root = PACKAGE.parent
    files = [*PACKAGE.rglob("*.py"), *(root / "pages").rglob("*.py"), root / "app.py"]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    for pattern in (constants, sentences):
        assert [file.name for file, text in texts.items() if pattern.search(text)] == ["lifecycle.py"]
