"""The distill page: form, start, live view, stop, end, and what it says when something is wrong."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.config.methods import DISTILLATION_METHODS, terms_of
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.paths import run_folder
from distill_core.runs import scheduler, worker_process
from distill_core.runs.events import Measured, Phase
from distill_core.runs.store import Store
from pages.components.run import actions, detail
from tests.support.opening import NASTY, all_html, open_distill
from tests.support.stored_runs import FAKE_TOKEN, active_run

ROOT = Path(__file__).resolve().parents[2]

# A worker whose student learns by itself: two evaluations, a step each 20 ms.
WORKER = """
import json, sys, time
from distill_core import worker
from distill_core.runs.events import Measured, Note, Phase

class Session:
    begin = best = 0

    def __init__(self, config, checkpoint):
        self.config = config

    def events(self):
        yield Note("a note for the log")
        yield self.evaluated(0, 0.5, 0.0)
        yield Phase("training", f"{self.config.steps} steps")
        for step in range(1, self.config.steps + 1):
            time.sleep(0.02)
            yield Measured(step, {"loss": 1 / step, "ce": 0.5, "weighted/ce": 0.1, "examples_per_second": 80.0})
        yield self.evaluated(step, 0.9, 0.4)

    def evaluated(self, step, accuracy, signed):
        values = {"agreement/signed_cosine": signed, "agreement/label_loyalty": accuracy}
        return Measured(step, values | {"validation/accuracy": accuracy})

    def save(self, path, record):
        path.mkdir(exist_ok=True)
        (path / "config.json").write_text("{}")

worker._open_session = Session
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    """Return the folder of a teacher of six layers; only its settings are there."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 6, "hidden_size": 32}))
    (folder / "distill.json").write_text(json.dumps({"task": "sst2", "title": "Small teacher"}))
    return str(folder)


@pytest.fixture
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs be done by a session of a few lines."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(worker_process, "WORKER", (sys.executable, str(script)))


def links(page: AppTest) -> dict[str, str]:
    """Return the page's links: label to query string."""
    return {part.proto.label: part.proto.query_string for part in page.get("page_link")}


def evaluated(step: int, accuracy: float, signed: float = 0.1, unsigned: float = 0.9) -> Measured:
    names = ("validation/accuracy", "agreement/signed_cosine", "agreement/cosine", "agreement/spearman")
    values = dict(zip(names, (accuracy, signed, unsigned, 0.8), strict=True))
    return Measured(step, values | {"agreement/label_loyalty": accuracy})


# the form ------------------------------------------------------------------------------------


def test_the_form_offers_every_setting_with_its_label_and_range(teacher: str) -> None:
    widgets = {}
    for method in DISTILLATION_METHODS:  # each has its own
        page = open_distill(teacher=teacher, method=method)
        assert not page.exception
        for widget in (*page.number_input, *page.selectbox, *page.text_input, *page.get("button_group")):
            widgets.setdefault(str(widget.key), widget)
    for name, spec in FIELDS.items():
        widget = widgets[f"distill.{name}"]
        assert widget.label == spec.label
        if spec.kind in ("int", "float"):
            limit = 6 if name == "student_layers" else spec.maximum
            range_words = f"From {spec.minimum:,.10g} to {limit:,.10g}."
            assert range_words in widget.help.replace("\\", "")


@pytest.mark.parametrize("method", DISTILLATION_METHODS)
def test_each_method_says_what_it_is_and_asks_for_what_it_reads(teacher: str, method: str) -> None:
    page = open_distill(teacher=teacher, method=method, device="cpu")
    assert not page.exception
    assert not page.error
    assert DISTILLATION_METHODS[method].words in [one.value for one in page.caption]
    formula = page.latex[0].value
    assert all(term.symbol in formula for term in terms_of(method))
    shown = {str(widget.key).removeprefix("distill.") for widget in (*page.number_input, *page.selectbox)}
    own = {setting for info in DISTILLATION_METHODS.values() for setting in info.settings}
    assert shown & own == set(DISTILLATION_METHODS[method].settings)


def test_a_method_that_is_picked_brings_its_recommended_weight(teacher: str) -> None:
    page = open_distill(teacher=teacher)
    for method, weight in (("gkd", 0.1), ("egkd_gradient", 0.3), ("ad_kd", 1.0)):
        page.selectbox(key="distill.method").set_value(method).run()
        assert page.number_input(key="distill.method_weight").value == weight
    page.number_input(key="distill.method_weight").set_value(2.0).run()
    assert page.number_input(key="distill.method_weight").value == 2.0


def test_a_run_that_is_edited_keeps_its_weight(store: Store) -> None:
    run, _ = active_run(store, method="gkd", method_weight=1.0)
    store.end(run.id, FAKE_TOKEN, "stopped")
    page = open_distill(run.id)
    page.button(key="distill.again").click().run()
    assert page.number_input(key="distill.method_weight").value == 1.0
    assert "recommended method weight is 0.1" in " ".join(one.value.replace("\\", "") for one in page.caption)


def test_the_terms_are_explained_as_they_are_set(teacher: str) -> None:
    page = open_distill(teacher=teacher, attribution_steps=8, map_norm="l1", map_distance="l1")
    (words,) = (one.value for one in page.caption if one.value.startswith("As set"))
    assert "8 points, all dimensions, maps scaled by L1, absolute differences" in words


def test_a_method_s_own_page_can_be_read(teacher: str) -> None:
    page = open_distill(teacher=teacher, method="gkd")
    page.button(key="distill.more_about").click().run()
    assert not page.exception
    assert any("Gradient Knowledge Distillation for Pre-trained" in one.value for one in page.markdown)


def test_the_time_is_estimated_and_says_what_from(store: Store, teacher: str) -> None:
    assert "Estimated for two CPU cores" in all_html(open_distill(teacher=teacher, device="cpu"))
    run, recorder = active_run(store, evaluated(0, 0.5), teacher=teacher, steps=20)
    for step in range(1, 21):
        recorder.record(Measured(step, {"examples_per_second": 32.0}))
    recorder.flush()
    store.end(run.id, FAKE_TOKEN, "finished")
    shown = all_html(open_distill(teacher=teacher, device="cpu", steps=60))
    assert "the last run of AD-KD on CPU: 32 examples per second" in shown
    assert "About 70 s on CPU" in shown  # 60 steps of one second, and the loading


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("teacher", "no such model", "Unknown model 'no such model'"),
        ("source", "/nowhere", "The GLUE folder /nowhere does not exist"),
        ("name", "two\nlines", "(name) is 'two"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(
    store: Store, teacher: str, name: str, value: str, words: str
) -> None:
    page = open_distill(**{"teacher": teacher, name: value})
    assert words in page.error[0].value.replace("\\", "")
    assert page.button(key="distill.start").disabled
    assert store.runs() == []


def test_a_number_beyond_its_range_makes_no_run(store: Store, teacher: str) -> None:
    page = open_distill(teacher=teacher)
    page.number_input(key="distill.steps").set_value(-5)
    page.button(key="distill.start").click().run()
    assert all(run.config.steps > 0 for run in store.runs())
    assert "(steps) is -5" in page.error[0].value.replace("\\", "")


# a run ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_worker")
def test_a_run_from_start_to_the_way_on(store: Store, teacher: str) -> None:
    page = open_distill(teacher=teacher, steps=30, name="short", method="kd")
    page.button(key="distill.start").click().run()
    (run,) = store.runs()
    assert (run.config.steps, run.config.name, run.config.method) == (30, "short", "kd")
    assert page.query_params["run"] == run.id
    deadline = time.monotonic() + 20
    while store.get(run.id).active and time.monotonic() < deadline:
        time.sleep(0.2)
    page.run()
    assert not page.exception
    shown = all_html(page)
    assert "dl-finished" in shown
    assert "Validation accuracy went from 0.50 to 0.90" in shown
    assert "narrowed from 1.00 to 0.60" in shown
    assert f"student=run%2F{run.id}" in links(page)["Explain with this student"]
    assert any("a note for the log" in code.value for code in page.code)
    assert page.button(key="distill.again").label == "Edit and rerun"
    page.button(key="distill.again").click().run()
    assert len(store.runs()) == 1  # nothing has started
    assert "run" not in page.query_params
    assert page.number_input(key="distill.steps").value == 30
    assert page.text_input(key="distill.name").value == "short (2)"
    assert "'--name=short (2)'" in store.get(run.id).local_command  # the line on the run's page does the same


def test_a_live_view_fetches_only_what_is_new(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, recorder = active_run(store, evaluated(0, 0.5), Phase("training", "200 steps"))
    asked: list[int] = []
    read = Store.metrics

    def spy(self: Store, run_id: str, after: int = 0, names: Any = None) -> Any:
        if names is None:
            asked.append(after)
        return read(self, run_id, after, names)

    monkeypatch.setattr(Store, "metrics", spy)
    page = open_distill(run.id)
    recorder.record(Measured(40, {"loss": 0.625, "weighted/ce": 0.125, "ce": 0.625, "seconds_left": 90.0}))
    recorder.flush()
    page.run()
    assert not page.exception
    assert asked[0] == 0
    assert asked[-1] > 0
    assert "step 40 of 200, about 2 min left" in page.get("progress")[0].proto.text.replace("\\", "")
    assert "0.625" in all_html(page)


@pytest.mark.parametrize(("last", "told"), [(7, True), (9, False)])
def test_a_student_that_was_not_measured_at_its_end_says_so(store: Store, last: int, told: bool) -> None:
    run, _ = active_run(store, evaluated(last, 0.7), Measured(9, {"loss": 1.0}))
    folder = run_folder(run.id) / "student"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    store.set_model(run.id, FAKE_TOKEN, folder)
    store.end(run.id, FAKE_TOKEN, "stopped", "Stopped.")
    shown = all_html(open_distill(run.id))
    assert ("is from step 9; the last evaluation was at step 7" in shown) is told


def test_the_end_of_a_watched_run_is_told(store: Store) -> None:
    run, _ = active_run(store, Measured(3, {"loss": 1.0}), name="watched")
    page = open_distill(run.id)
    assert not page.toast
    store.end(run.id, FAKE_TOKEN, "failed", "Out of memory.")
    page.session_state["distill.ended"] = run.id  # what the live view leaves when it finds the run ended
    page.run()
    assert "watched: failed. Out of memory." in page.toast[0].value.replace("\\", "")
    page.run()
    assert not page.toast


def test_a_failed_run_says_why_and_shows_its_log(store: Store) -> None:
    run, _ = active_run(store, Measured(16, {"loss": 1.0}))
    run_folder(run.id).mkdir(parents=True)
    (run_folder(run.id) / "log.txt").write_text("the last line\n")
    store.end(run.id, FAKE_TOKEN, "failed", "Step 17: the ad_kd term is not finite (nan).")
    page = open_distill(run.id)
    assert "Step 17" in page.error[0].value
    assert "not finite" in page.error[0].value
    assert page.code[0].value == "the last line"
    assert "Explain with this student" not in links(page)


def test_an_unknown_run_is_named_with_the_valid_ones(store: Store) -> None:
    run, _ = active_run(store)
    page = open_distill("no-such-run")
    assert not page.exception
    message = page.error[0].value.replace("\\", "")
    assert "Unknown run 'no-such-run'" in message
    assert run.id in message
    assert "New run" in links(page)


def test_a_damaged_store_is_set_aside_and_said(store: Store) -> None:
    for path in store.path.parent.glob("runs.sqlite*"):
        path.unlink()
    store.path.write_text("not a database" * 100)
    page = open_distill()
    assert not page.exception
    assert not page.error
    (aside,) = store.damaged
    assert aside.name in page.warning[0].value.replace("\\", "")
    assert aside.read_text().startswith("not a database")
    aside.unlink()
    assert not open_distill().warning


def test_a_name_is_shown_as_the_text_it_is(store: Store) -> None:
    run, _ = active_run(store, Measured(1, {"loss": 1.0}), name=NASTY)
    page = open_distill(run.id)
    assert "<script" not in all_html(page)
    assert "&lt;script&gt;" in all_html(page)
    assert NASTY in {label.replace("\\", "").replace("**", "") for label in links(page)}


def test_the_list_leads_to_every_run(store: Store) -> None:
    first, _ = active_run(store, evaluated(5, 0.75), name="first")
    second = scheduler.enqueue(store, RunConfig(device="cpu", name="second"))
    page = open_distill()
    assert {links(page)["first"], links(page)["second"]} == {f"run={first.id}", f"run={second}"}
    assert "accuracy 0.75" in all_html(page)
    assert "SST-2 · AD-KD" in all_html(page)


def test_the_list_shows_the_latest_and_leads_to_all(store: Store) -> None:
    active_run(store)  # so that the others wait
    for number in range(detail.LATEST_RUNS):
        scheduler.enqueue(store, RunConfig(device="cpu", name=f"waits {number}"))
    page = open_distill()
    assert all_html(page).count("dl-row") - all_html(page).count(".dl-row") == detail.LATEST_RUNS
    assert "All runs" in links(page)


# its parts -----------------------------------------------------------------------------------


def test_a_student_that_guesses_while_its_maps_agree_is_called_out(store: Store) -> None:
    guess = Measured(0, {"constant/accuracy": 0.5})
    run, recorder = active_run(store, guess, evaluated(0, 0.5, unsigned=0.885), evaluated(100, 0.51, unsigned=0.96))
    assert "such agreement says little" in all_html(open_distill(run.id))
    recorder.record(evaluated(120, 0.8, unsigned=0.96))
    recorder.flush()
    assert "such agreement says little" not in all_html(open_distill(run.id))


@pytest.mark.parametrize("ended", [False, True])
def test_a_teacher_near_chance_is_called_out(store: Store, ended: bool) -> None:
    known = Measured(0, {"constant/accuracy": 0.5, "teacher/accuracy": 0.512})
    run, _ = active_run(store, known, evaluated(0, 0.5), evaluated(100, 0.5, unsigned=0.96))
    if ended:
        store.end(run.id, FAKE_TOKEN, "finished")
    shown = all_html(open_distill(run.id))
    assert "accuracy is 0.512; majority-class baseline: 0.500" in shown
    assert "likely cause is the teacher" in shown


def test_explain_opens_beside_what_was_looked_at(store: Store) -> None:
    run, _ = active_run(store)
    state = {
        "explain.text": "A fine film.",
        "explain.students": ["bundled/a", f"run/{run.id}", "bundled/b", "bundled/c"],
    }
    parameters = actions.explain_parameters(run, state)
    assert parameters["student"] == [f"run/{run.id}", "bundled/a", "bundled/b"]
    assert parameters["text"] == "A fine film."
    first_look = actions.explain_parameters(run, {})["student"]
    assert first_look == [f"run/{run.id}", "bundled/sst2-kd", "bundled/sst2-ad-kd"]
