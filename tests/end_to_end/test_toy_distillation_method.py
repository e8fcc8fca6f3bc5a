"""A new distillation method is one file (tests/support/toy_objective.py) and one entry; all else reads the spec."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from distill_core.catalog.catalog import find_model
from distill_core.cli.options import take_options
from distill_core.config.methods import DISTILLATION_METHODS, methods_table
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.export.model_card import model_card
from distill_core.models.encoder import read_record
from distill_core.runs import scheduler
from distill_core.runs.events import Measured
from distill_core.runs.metric_names import metric_title
from distill_core.runs.store import Store
from distill_core.training.session import prepare
from pages.components.palette import metric_color
from pages.components.run import curves
from pages.components.run.setting_labels import used_settings
from tests.support.opening import ROOT, html_of, open_page
from tests.support.small_worker import script_command
from tests.support.tiny import tiny_folder
from tests.support.toy_objective import TOY

WORKER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from distill_core import worker
from distill_core.config.methods import DISTILLATION_METHODS
from tests.support.toy_objective import TOY
DISTILLATION_METHODS[TOY.key] = TOY
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the entry of the toy method to the registry."""
    monkeypatch.setitem(DISTILLATION_METHODS, TOY.key, TOY)


def toy_run(tmp_path: Path) -> RunConfig:
    teacher = str(tiny_folder(tmp_path / "teacher", layers=2))
    return RunConfig(
        method="toy", teacher=teacher, student_layers=1, source="bundled", steps=4, batch_size=4, evaluate_every=2,
        device="cpu", max_length=32, weak_teacher="go_on", method_weight=3.0, rationale_share=0.3,
    )  # fmt: skip


def test_it_is_chosen_in_the_form() -> None:
    page = open_page("distill.py", {})
    page.selectbox(key="distill.method").set_value("toy").run()
    assert not page.exception
    assert TOY.words in [caption.value for caption in page.caption]
    assert {"distill.method_weight", "distill.rationale_share", "distill.method_delay"} <= {
        widget.key for widget in page.number_input
    }
    assert "distill.top_k" not in {widget.key for widget in page.number_input}
    assert rf"\textcolor{{#123456}}{{{TOY.terms[0].symbol}}}" in page.latex[0].value


def test_it_is_chosen_on_the_command_line(tmp_path: Path) -> None:
    config = toy_run(tmp_path)
    assert "--method=toy" in config.command
    assert RunConfig.from_json(config.to_json()) == config
    app, given = typer.Typer(), {}

    def command(**values: object) -> None:
        given.update({name: value for name, value in values.items() if value is not None})

    take_options(command, FIELDS.values())
    app.command()(command)
    assert CliRunner().invoke(app, ["--method", "toy", "--rationale-share", "0.3"]).exit_code == 0
    assert given == {"method": "toy", "rationale_share": 0.3}
    help_text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).output
    assert "toy" in help_text.split("--method ")[1].split("--student")[0]
    assert "egkd_feature_selection, toy" in help_text.split("--rationale-share")[1].split("--relation")[0]


def test_it_trains_is_shown_and_exported(tmp_path: Path, store: Store) -> None:
    config = toy_run(tmp_path)
    session = prepare(config)
    measured = [event.values for event in session.events() if isinstance(event, Measured)]
    steps = [values for values in measured if "loss" in values]
    assert [values["weighted/toy"] for values in steps] == pytest.approx([3.0 * values["toy"] for values in steps])
    assert all(values["toy"] > 0 for values in steps)
    assert (metric_title("toy"), metric_title("weighted/toy")) == (
        "First attention (toy)",
        "First attention (toy), weighted",
    )
    assert metric_color("toy") == metric_color("share/toy") == "#123456"

    store.add("a-run", config)
    run = store.get("a-run")
    assert used_settings(run)["Method"] == "Toy method"
    assert "Top dimensions K" not in used_settings(run)
    session.save(tmp_path / "student", {"run": run.id, "step": 4, "config": {}})
    card = model_card(run, find_model(str(tmp_path / "student")), read_record(tmp_path / "student"), (), ())
    assert "Method: **Toy method** (`toy`). The student learns to attend" in card
    assert "- First attention (toy), weight 3. Squared difference of the first layer’s attention." in card
    assert "As set: a share of 0.3." in card
    assert "Source: Nobody, *A Method of the Tests*, nowhere, 2020, arXiv 0000.00000." in card


@pytest.mark.slow
def test_a_worker_process_trains_it_and_its_run_is_drawn(tmp_path: Path, store: Store) -> None:
    run_id = scheduler.enqueue(store, toy_run(tmp_path))
    scheduler.reconcile(store, script_command(tmp_path / "toy_worker.py", WORKER))
    run = scheduler.wait(store, run_id, 120)
    assert (run.state, run.reason, run.step) == ("finished", "", 4), store.log_tail(run_id)
    points = store.metrics(run_id, names=["weighted/toy", "share/toy"])
    assert {point.name for point in points if point.value > 0} == {"weighted/toy", "share/toy"}
    series = curves.chart_points(run, {point.name: [(point.step, point.value)] for point in points})
    assert "weighted/toy" in series
    (line,) = curves._curve_lines(run, ["weighted/toy"])
    assert (line.title, line.color) == ("First attention (toy)", "#123456")
    assert "Toy method" in html_of(open_page("distill.py", {"run": run_id}))


def test_the_table_of_the_documentation_has_a_row_for_it() -> None:
    assert "| [`toy`](toy.md) | attention of the first layer | no | any |" in methods_table()
