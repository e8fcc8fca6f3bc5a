"""Every measured name has a title and a colour key; stored names stay what they are."""

import sqlite3
from pathlib import Path

import pytest

from distill_core.config.methods import DISTILLATION_METHODS, terms_of
from distill_core.config.run_config import MONITORS
from distill_core.data.tasks import TASKS
from distill_core.runs import metric_names
from distill_core.runs.metric_names import METRICS, color_key, evaluated_names, metric_title, sort_key
from distill_core.runs.store import Store


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("loss", "Total loss"),
        ("kd", "Teacher’s answers (KD)"),
        ("weighted/kd", "Teacher’s answers (KD), weighted"),
        ("share/kd", "Teacher’s answers (KD), share of the gradient"),
        ("validation/accuracy", "Validation accuracy"),
        ("teacher/f1", "Teacher’s F1"),
        ("constant/accuracy", "Baseline accuracy"),
        ("agreement/label_loyalty", "Same prediction as the teacher"),
        ("cpu_percent", "CPU, all cores (%)"),
        ("new/metric", "new/metric"),
        ("weighted/new", "weighted/new"),
    ],
)
def test_a_name_has_a_title(name: str, title: str) -> None:
    assert metric_title(name) == title


def test_a_term_has_one_colour_key_in_all_its_forms() -> None:
    assert color_key("kd") == color_key("weighted/kd") == color_key("share/kd") == "kd"
    assert color_key("new/metric") == "neutral"


def test_every_term_of_every_method_has_a_title_of_its_own() -> None:
    terms = {term.name for method in DISTILLATION_METHODS for term in terms_of(method)}
    assert len({metric_title(name) for name in terms | set(METRICS)}) == len(terms | set(METRICS))


def test_an_evaluation_of_a_regression_has_no_label_loyalty() -> None:
    assert evaluated_names(TASKS["sst2"]) == [
        "validation/accuracy",
        "agreement/label_loyalty",
        "agreement/signed_cosine",
        "agreement/cosine",
        "agreement/spearman",
    ]
    assert "agreement/label_loyalty" not in evaluated_names(TASKS["stsb"])


def test_results_come_first() -> None:
    names = ["loss", "teacher/f1", "agreement/cosine", "validation/f1", "constant/f1"]
    assert sorted(names, key=sort_key) == ["validation/f1", "agreement/cosine", "teacher/f1", "constant/f1", "loss"]


def test_a_run_is_monitored_by_a_name_that_is_measured() -> None:
    assert set(MONITORS) - {"metric"} <= set(METRICS)


def test_the_store_s_index_holds_what_every_evaluation_measures(tmp_path: Path) -> None:
    connection = sqlite3.connect(Store(tmp_path / "runs.sqlite").path)
    sql = " ".join(row[0] or "" for row in connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index'"))
    connection.close()
    assert all(f"name GLOB '{prefix}*'" in sql for prefix in metric_names.EVALUATED)
