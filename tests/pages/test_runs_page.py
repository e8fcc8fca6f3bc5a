"""The runs page: all runs in a table, the picked ones side by side, and what can be done with them."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

from distill_core.catalog import deletion
from distill_core.config.run_config import RunConfig
from distill_core.errors import RunError, StoreError
from distill_core.paths import run_folder
from distill_core.runs import scheduler
from distill_core.runs.events import Measured
from distill_core.runs.store import Store
from distill_core.runs.summary import overview
from pages.components.run.launch import Launch
from pages.components.runs import bulk_actions, comparison, overlay
from pages.components.runs import table as runs_table
from tests.support.opening import NASTY, html_of, open_page
from tests.support.stored_runs import FAKE_TOKEN, active_run, ended_run


def opened(picked: Sequence[str] = ()) -> AppTest:
    return open_page("runs.py", {"run": list(picked)} if picked else {})


def texts(page: AppTest) -> str:
    return " ".join(part.value.replace("\\", "") for part in page.caption)


def test_without_runs_it_says_where_to_begin() -> None:
    page = opened()
    assert not page.exception
    assert "no runs yet" in texts(page)


def test_all_runs_with_what_they_reached(store: Store) -> None:
    ended_run(store, name=NASTY)
    active_run(store, task="cola")
    page = opened()
    table = page.dataframe[0].value
    assert list(table["Name"])[1] == NASTY
    assert list(table["State"]) == ["running", "finished"]
    assert list(table["Metric"])[1] == 0.75
    assert list(table["Agreement"])[1] == 0.25
    assert table["Minutes"][1] >= 0
    assert "2 of 2 runs" in texts(page)


def test_filters_narrow_the_table(store: Store) -> None:
    ended_run(store, name="first")
    ended_run(store, name="second", method="kd")
    page = opened()
    page.text_input(key="runs.words").set_value("sec").run()
    assert list(page.dataframe[0].value["Name"]) == ["second"]
    page.text_input(key="runs.words").set_value("").run()
    page.multiselect(key="runs.method").set_value(["ad_kd"]).run()
    assert list(page.dataframe[0].value["Name"]) == ["first"]
    page.text_input(key="runs.words").set_value("nothing has this").run()
    assert "No runs match" in texts(page)


def test_picked_runs_are_compared_and_escaped(store: Store) -> None:
    one, other = ended_run(store, name=NASTY, method="kd"), ended_run(store, name="other", method="gkd")
    page = opened([one, other])
    shown = html_of(page)
    assert NASTY not in shown
    assert "&lt;script&gt;" in shown
    assert "<th>Method</th><td><bdi>Plain KD</bdi></td><td><bdi>GKD</bdi></td>" in shown
    assert "<th>Batch size</th>" not in shown
    page.toggle(key="runs.all_settings").set_value(True).run()
    assert "<th>Batch size</th>" in html_of(page)


def test_a_picked_run_that_is_gone_is_said(store: Store) -> None:
    page = opened([ended_run(store), "20200101-000000-gone"])
    html_of(page)
    assert "1 selected run no longer exists" in texts(page)


def test_a_run_keeps_its_colour_while_others_come_and_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison.st, "session_state", {})
    runs = [store.get(ended_run(store)) for _ in range(3)]
    first = comparison.run_colors(runs)
    assert len(set(first.values())) == 3
    assert comparison.run_colors(runs[1:]) == {run.id: first[run.id] for run in runs[1:]}
    assert comparison.run_colors(runs)[runs[0].id] == first[runs[0].id]


def test_settings_of_a_method_that_another_does_not_read_are_a_dash() -> None:
    columns: list[dict[str, str]] = [{"Name": "a", "K": "5", "B": "1"}, {"Name": "b", "B": "1"}]
    assert comparison.columns_that_differ(columns) == {"K": ["5", "–"]}


def test_runs_are_begun_again_with_their_settings(store: Store) -> None:
    active_run(store, name="holds the device")
    run_id = ended_beside(store)
    assert store.get(run_id).name == ""
    page = opened([run_id])
    page.button(key=f"runs.again.{run_id}").click().run()
    newest = store.runs()[0]
    assert (newest.state, newest.config) == ("queued", store.get(run_id).config)
    assert page.query_params["run"] in (newest.id, [newest.id])
    assert f"runs.again.{run_id}" not in {button.key for button in page.button}  # a second click meets nothing


def test_curves_stand_beside_the_teacher_that_all_runs_share(store: Store) -> None:
    def measured(task: str, teacher: float) -> str:
        known = {"teacher/accuracy": teacher, "constant/accuracy": 0.5}
        run, _ = active_run(store, Measured(0, known | {"validation/accuracy": 0.6}), task=task)
        store.end(run.id, FAKE_TOKEN, "finished")
        return run.id

    ids = [measured("sst2", 0.9), measured("sst2", 0.9), measured("sst2", 0.8), measured("rte", 0.9)]
    runs = [store.get(run) for run in ids]

    def levels(*picked: int, name: str = "validation/accuracy") -> dict[str, float]:
        found = overlay._reference_levels(store, [runs[at] for at in picked], name)
        return {level.caption: level.value for level in found}

    assert levels(0, 1) == {"teacher 0.90": 0.9, "majority-class baseline 0.50": 0.5}
    assert levels(0, 2) == {"majority-class baseline 0.50": 0.5}
    assert levels(0, 3) == levels(0, name="agreement/cosine") == levels(0, name="validation/f1") == {}


def test_one_drawn_button_starts_runs_again_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    active_run(store, name="holds the device")
    run = store.get(ended_beside(store))
    picked: list[str] = []
    monkeypatch.setattr(runs_table, "select", lambda runs: picked.extend(runs))
    launch, before = Launch(), len(store.runs())
    for _ in range(2):
        bulk_actions._rerun(store, [run, run], launch)
    assert len(store.runs()) == before + 2
    assert len(set(picked)) == 2


def test_runs_that_cannot_be_begun_again_are_not_called_queued(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, said = store.get(ended_beside(store)), []
    monkeypatch.setattr(runs_table, "select", said.append)
    monkeypatch.setattr(bulk_actions.st, "toast", lambda words, **_: said.append(words))
    monkeypatch.setattr(bulk_actions, "show_error", said.append)
    monkeypatch.setattr(store, "add", refuse)
    bulk_actions._rerun(store, [run], Launch())
    assert [str(words) for words in said] == ["No space left."]


def test_a_refused_run_keeps_no_other_from_being_started_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    active_run(store, name="holds the device")
    shown: list[str] = []
    gone = {"teacher": str(tmp_path / "gone")}, {"source": str(tmp_path / "no data")}
    ended = [store.get(ended_beside(store, name=f"run {at}", **settings)) for at, settings in enumerate((*gone, {}))]
    monkeypatch.setattr(runs_table, "select", lambda runs: shown.append(f"{len(runs)} selected"))
    monkeypatch.setattr(bulk_actions.st, "toast", lambda words, **_: shown.append(words))
    monkeypatch.setattr(bulk_actions, "show_error", lambda error: shown.append(str(error)))
    before = {run.id for run in store.runs()}
    bulk_actions._rerun(store, ended, Launch())
    (started,) = [run for run in store.runs() if run.id not in before]
    assert (started.state, started.config) == ("queued", ended[2].rerun_config)
    assert [words for words in shown if words.startswith("No new run of")] == shown[:2]
    assert all(words in shown[at] for at, words in ((0, "run 0"), (0, "gone"), (1, "run 1"), (1, "no data")))
    assert shown[2:] == ["1 selected", "A new run is in the queue."]


def refuse(*_: object) -> None:
    """Stand in for a store that takes no more."""
    raise StoreError("No space left.")


def ended_beside(store: Store, **settings: str) -> str:
    """Return a run that was cancelled while another holds the device."""
    run_id = scheduler.enqueue(store, RunConfig(**{"device": "cpu", "seed": 7, "task": "cola", **settings}))
    store.cancel(run_id)
    return run_id


def test_picked_runs_are_tagged_together(store: Store) -> None:
    one, other = ended_run(store), ended_run(store)
    store.annotate(one, tags=["old", "both"])
    store.annotate(other, tags=["both"])
    page = opened([one, other])
    page.text_input(key="runs.tag").set_value("new, newer").run()
    page.button(key="runs.add_tag").click().run()
    assert store.get(one).tags == ("old", "both", "new", "newer")
    page.button(key="runs.remove_tag.both").click().run()
    assert [store.get(run).tags for run in (one, other)] == [("old", "new", "newer"), ("new", "newer")]


def test_a_run_that_cannot_be_deleted_keeps_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = ended_run(store), ended_run(store)
    delete_run = deletion.delete_run

    def failing(given: Store, run_id: str) -> int:
        if run_id == stuck:
            raise RunError(f"Not all of run {run_id} could be deleted; try again.")
        return delete_run(given, run_id)

    monkeypatch.setattr(deletion, "delete_run", failing)
    page = opened([stuck, free])
    page.button(key="runs.delete").click().run()
    page.button(key="runs.delete_sure").click().run()
    assert [run.id for run in store.runs()] == [stuck]
    assert [error.value.replace("\\", "") for error in page.error] == [
        f"Not all of run {stuck} could be deleted; try again."
    ]


def test_deleting_asks_and_leaves_what_is_used(store: Store) -> None:
    used, free = ended_run(store, name="used"), ended_run(store)
    run_folder(free).mkdir(parents=True)
    (run_folder(free) / "log.txt").write_text("x" * 2_000_000)
    holder, _ = active_run(store, name="holds the device")
    store.add("user", RunConfig(device="cpu", teacher=f"run/{used}", name="the user"))
    page = opened([used, free])
    page.button(key="runs.delete").click().run()
    assert "used is kept: its student is used by the user" in texts(page)
    assert "of this run (2.0 MB)" in page.warning[0].value
    page.button(key="runs.keep").click().run()
    assert not page.warning
    page.button(key="runs.delete").click().run()
    page.button(key="runs.delete_sure").click().run()
    assert {run.id for run in store.runs()} == {used, holder.id, "user"}
    assert not run_folder(free).exists()
    assert not page.exception


def test_tables_of_runs_run_as_no_formula(store: Store) -> None:
    ended_run(store, name="=1+1")
    store.annotate(store.runs()[0].id, tags=["@a", "b"])
    rows = list(csv.DictReader(io.StringIO(bulk_actions.table_csv(overview(store)))))
    assert rows[0]["Name"] == "'=1+1"
    assert rows[0]["Tags"] == "'@a, b"
    assert rows[0]["setting learning_rate"] == str(RunConfig().learning_rate)
    points = list(csv.DictReader(io.StringIO(bulk_actions.curves_csv(store, store.runs()))))
    assert {(point["step"], point["metric"], point["value"]) for point in points} == {
        (str(step), name, value)
        for step in (0, 9)
        for name, value in (("validation/accuracy", "0.75"), ("agreement/signed_cosine", "0.25"))
    } | {("9", "loss", "1.0")}
    assert {point["name"] for point in points} == {"'=1+1"}


def test_ticks_of_runs_that_are_not_listed_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    address: dict[str, list[str]] = {"run": ["hidden", "b"]}

    monkeypatch.setattr(runs_table, "selected_ids", lambda: list(address["run"]))
    monkeypatch.setattr(runs_table, "select", lambda ids: address.update(run=list(ids)))
    monkeypatch.setattr(
        runs_table.st, "session_state", {"table": SimpleNamespace(selection=SimpleNamespace(rows=[0, 2]))}
    )
    runs_table.st.session_state["runs.table"] = "table"
    runs_table._select_ticked("table", ["a", "b", "c"])
    assert address["run"] == ["hidden", "a", "c"]


def test_a_click_keeps_a_cleared_selection_though_the_browser_still_sends_the_former_ticks(store: Store) -> None:
    run = ended_run(store, name="one")
    page = opened([run])
    former = WidgetState(
        id=page.dataframe[0].proto.id, string_value=json.dumps({"selection": {"rows": [0], "columns": [], "cells": []}})
    )
    page.button(key="runs.none").click().run()
    assert "run" not in page.query_params
    states = page._tree.get_widget_states()
    states.widgets.append(former)  # the browser drops a table only when it has drawn the next page
    page._run(states)
    assert not page.exception
    assert "run" not in page.query_params
