"""Every task with bundled models, offline, through command line and pages: explained, and a student distilled.

Each task is distilled with one method, in turn; with EVERY_METHOD=1 in the environment with every method.
"""

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from distill_core.catalog.catalog import bundled_models
from distill_core.cli import app
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.data.datasets import load_split
from distill_core.data.tasks import get_task
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from tests.support.crossing import every_method, turns
from tests.support.opening import html_of, open_page
from tests.support.waiting import until

SHIPPED: dict[str, list[str]] = {}  # task: its bundled models, the teacher first
for model in bundled_models().values():
    SHIPPED.setdefault(model.task, []).append(f"bundled/{model.name}")
FORMS = turns(SHIPPED, DISTILLATION_METHODS, first=1)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_bundle", "few_examples")]


def call(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def names_of(method: str) -> set[str]:
    return {term.name for term in DISTILLATION_METHODS[method].terms}


@pytest.mark.parametrize("task", SHIPPED)
def test_an_example_is_explained_by_command_and_page(task: str) -> None:
    example = load_split(task, "validation", "bundled").examples[0]
    texts = ["--text", example.text] + (["--text-pair", example.text_pair] if example.text_pair else [])
    teacher, *students = SHIPPED[task]
    named = [part for student in students for part in ("--student", student)]
    told = call("explain", "--task", task, *texts, *named, "--target", "all")
    assert teacher == f"bundled/{task}-teacher"
    assert [model["id"] for model in told["models"]] == [teacher, *students]
    for model in told["models"]:
        assert [map_["target"] for map_ in model["attributions"]] == list(get_task(task).labels)
        assert all(map_["converged"] for map_ in model["attributions"])
    assert len(told["consistency"]) == len(students) * get_task(task).classes
    shown = html_of(open_page("explain.py", {"task": task, "target": "all"}))
    assert shown.count('class="dl-model"') == 3
    assert shown.count('class="dl-map"') == get_task(task).classes * len(get_task(task).columns)
    assert "Not converged" not in shown


@pytest.mark.parametrize(("task", "method"), turns(SHIPPED, DISTILLATION_METHODS))
def test_a_student_is_distilled(task: str, method: str) -> None:
    size = ("--steps", "2", "--batch-size", "4", "--max-length", "64", "--evaluate-every", "2")
    told = call("distill", "--task", task, "--method", method, "--source", "bundled", "--device", "cpu", *size)
    assert (told["state"], told["steps"]) == ("finished", 2)
    assert {f"validation/{name}" for name in get_task(task).metrics} <= told["metrics"].keys()
    assert {"ce", "kd", "agreement/spearman", *names_of(method)} <= told["metrics"].keys()
    measured = call("evaluate", "--task", task, "--model", f"run/{told['run']}", "--source", "bundled")
    shown = {name: told["metrics"][f"validation/{name}"] for name in get_task(task).metrics}
    assert measured["metrics"] == pytest.approx(shown, nan_ok=True)


def start_on_page(task: str, method: str, store: Store) -> tuple[AppTest, Run]:
    """Choose task, method and sizes on the form, press Start, and return the page and the run."""
    page = open_page("distill.py", {})
    page.selectbox(key="distill.task").set_value(task).run()
    page.selectbox(key="distill.method").set_value(method).run()
    assert page.selectbox(key="distill.teacher").value == SHIPPED[task][0]
    for name, value in {"steps": 2, "batch_size": 4, "max_length": 32, "evaluate_every": 2}.items():
        page.number_input(key=f"distill.{name}").set_value(value)
    page.button(key="distill.start").click().run()
    (run,) = store.runs()
    return page, run


@pytest.mark.parametrize(("task", "method"), FORMS)
def test_the_form_starts_a_run_of_every_task(
    task: str, method: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as busy:
        busy.setattr(Store, "claim", lambda *_: None)  # no device is free
        _, run = start_on_page(task, method, store)
    assert (run.config.task, run.config.method, run.config.steps) == (task, method, 2)
    assert run.config.teacher == SHIPPED[task][0]
    store.cancel(run.id)


@pytest.mark.parametrize(("task", "method"), FORMS if every_method() else [turn for turn in FORMS if turn[0] == "mnli"])
def test_a_student_is_distilled_on_the_page(task: str, method: str, store: Store) -> None:
    page, run = start_on_page(task, method, store)
    assert until(lambda: not store.get(run.id).active, seconds=120)
    shown = html_of(page.run())
    assert "dl-finished" in shown
    assert "the same source" in shown  # what it was trained and validated on
    metrics = {f"validation/{name}" for name in get_task(task).metrics}
    assert store.latest(run.id).keys() >= metrics | names_of(method)
    assert run.config.method == method
