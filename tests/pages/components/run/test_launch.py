"""A double click on Start makes one run and shows it, wherever its second click comes upon the first."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import streamlit as st

from distill_core.config.run_config import RunConfig
from distill_core.runs.store import Store
from pages.components.run.launch import START_ERROR, Launch, start_run


class CutError(BaseException):
    """As what Streamlit ends a callback with when the next click has come."""


class Session(dict[str, Any]):
    """The session or the address, of which every use may be the one at which a callback is ended."""

    def __init__(self, uses: list[int], **values: Any) -> None:
        super().__init__(values)
        self.uses = uses

    def __getitem__(self, key: str) -> Any:
        self._used()
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._used()
        super().__setitem__(key, value)

    def _used(self) -> None:
        self.uses[0] -= 1
        if not self.uses[0]:
            raise CutError


def visit(monkeypatch: pytest.MonkeyPatch, cut: int, **settings: Any) -> tuple[Session, Session]:
    """Return session and address of a visitor whose callback is ended at the use of this number; 0: never."""
    uses = [cut]
    values = {f"distill.{name}": value for name, value in settings.items()}
    session, address = Session(uses, **values), Session(uses)
    monkeypatch.setattr(st, "session_state", session)
    monkeypatch.setattr(st, "query_params", address)
    return session, address


def test_a_second_click_finds_the_run_of_the_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = 0
    for cut in range(1, 100):
        before, launch = len(store.runs()), Launch()
        _, address = visit(monkeypatch, cut, task="cola", seed=cut, name="once")
        try:
            start_run(launch)
        except CutError:
            cuts += 1
            start_run(launch)
        newest, *others = store.runs()
        assert len(others) == before
        assert (newest.config.seed, newest.name) == (cut, "once")
        assert dict(address) == {"run": newest.id}
    assert 5 <= cuts < 99  # at each use, and beyond the last


def test_a_second_click_that_comes_while_the_first_queues_its_run_waits_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, add = Launch(), Store.add

    def slow(self: Store, *given: Any) -> bool:
        time.sleep(0.3)
        return add(self, *given)

    monkeypatch.setattr(Store, "add", slow)
    with ThreadPoolExecutor(2) as clicks:
        both = [clicks.submit(launch.submit, store, [RunConfig()]) for _ in range(2)]
    assert [click.result() for click in both] == [[], []]
    assert launch.runs == [run.id for run in store.runs()]
    assert len(store.runs()) == 1


def test_what_cannot_be_started_is_said_and_can_be_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = Launch()
    session, address = visit(monkeypatch, 0, steps=0)
    start_run(launch)
    assert "steps" in str(session[START_ERROR])
    assert (store.runs(), dict(address)) == ([], {})
    session["distill.steps"] = 5
    start_run(launch)
    assert [run.config.steps for run in store.runs()] == [5]


def test_of_several_runs_each_is_queued_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, add, calls = Launch(), Store.add, []

    def failing(self: Store, *given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise CutError
        return add(self, *given)

    monkeypatch.setattr(Store, "add", failing)
    configs = [RunConfig(seed=seed) for seed in range(3)]
    with pytest.raises(CutError):
        launch.submit(store, configs)
    assert launch.submit(store, configs) == []
    assert launch.runs == [run.id for run in reversed(store.runs())]
    assert sorted(run.config.seed for run in store.runs()) == [0, 1, 2]
