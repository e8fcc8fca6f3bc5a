"""A new attribution method is one file and one entry: then page, command line, exports, cache and docs have it."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.config.attribution_methods import ATTRIBUTION_METHODS, methods_table
from distill_core.models.encoder import load_model
from pages.components.explain import downloads, figure
from tests.support.explanations import explain_with
from tests.support.opening import html_of, open_page
from tests.support.tiny import tiny_folder
from tests.support.toy_attribution import ENTRY


@pytest.fixture(autouse=True)
def _entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTRIBUTION_METHODS, ENTRY.key, ENTRY)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Return the folders of two tiny models."""
    return [str(tiny_folder(tmp_path / name, seed=seed)) for seed, name in enumerate(("teacher", "student"))]


@pytest.mark.usefixtures("own_home")
def test_it_can_be_chosen_on_the_page_which_shows_it(folders: list[str]) -> None:
    page = open_page("explain.py", {"text": "the film is good", "teacher": folders[0], "student": folders[1]})
    page.selectbox(key="explain.method").set_value(ENTRY.key).run()
    assert not page.exception
    assert not page.error
    assert ENTRY.title in html_of(page)
    assert ENTRY.limits in page.selectbox(key="explain.method").help
    assert page.query_params["method"] in (ENTRY.key, [ENTRY.key])


@pytest.mark.usefixtures("own_home")
def test_it_can_be_chosen_on_the_command_line(folders: list[str]) -> None:
    command = ["explain", "--text", "good film", "--teacher", folders[0], "--method", ENTRY.key, "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["method"], told["signed"], told["baseline"]) == (ENTRY.key, False, None)
    assert min(told["models"][0]["attributions"][0]["scores"]) > 0


def test_it_is_exported_with_its_words_and_settings(folders: list[str]) -> None:
    models = [load_model(Path(folder)) for folder in folders]
    explanation = explain_with("sst2", "good film", teacher=models[0], students=models[1:], method=ENTRY.key)
    rows = list(csv.DictReader(io.StringIO(downloads.to_csv(explanation))))
    assert len(rows) == 2 * len(explanation.tokens)
    assert json.loads(downloads.to_json(explanation, {}))["method"] == ENTRY.key
    assert ENTRY.title in figure.document(explanation, ["Teacher", "Student"], None, {})


def test_it_is_documented() -> None:
    (row,) = (line for line in methods_table(ATTRIBUTION_METHODS.values()).splitlines() if ENTRY.key in line)
    for words in (ENTRY.title, ENTRY.idea, ENTRY.formula, ENTRY.limits, ENTRY.source):
        assert words in row
