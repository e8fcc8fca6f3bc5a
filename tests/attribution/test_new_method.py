"""A new attribution method is one file and one entry: then page, command line, exports, cache and docs have it."""

import csv
import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from distill_core.attribution import attribute
from distill_core.cli import app
from distill_core.config.attribution_methods import ATTRIBUTION_METHODS, methods_table
from distill_core.explanation.cache import ExplanationCache
from distill_core.models.encoder import load_model
from distill_core.models.tokenization import collate, encode
from pages.components.explain import downloads, figure
from tests.support.explanations import explain_with
from tests.support.opening import html_of, open_page
from tests.support.tiny import tiny_folder, tiny_model
from tests.support.toy_attribution import ENTRY, TokenLength


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
    assert ENTRY.title in page.selectbox(key="explain.method").options
    page.selectbox(key="explain.method").set_value(ENTRY.key).run()
    assert not page.exception
    assert not page.error
    assert f"{ENTRY.title}, on the logit" in html_of(page)
    assert ENTRY.idea in page.selectbox(key="explain.method").help
    assert ENTRY.limits in page.selectbox(key="explain.method").help
    assert page.query_params["method"] in (ENTRY.key, [ENTRY.key])


@pytest.mark.usefixtures("own_home")
def test_a_link_to_it_opens_with_it(folders: list[str]) -> None:
    page = open_page("explain.py", {"text": "good", "teacher": folders[0], "student": folders[1], "method": ENTRY.key})
    assert not page.exception
    assert page.selectbox(key="explain.method").value == ENTRY.key
    assert f"{ENTRY.title}, on the logit" in html_of(page)


@pytest.mark.usefixtures("own_home")
def test_it_can_be_chosen_on_the_command_line(folders: list[str]) -> None:
    command = ["explain", "--text", "good film", "--teacher", folders[0], "--method", ENTRY.key]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["method"], document["signed"], document["baseline"]) == (ENTRY.key, False, None)
    assert min(document["models"][0]["attributions"][0]["scores"]) > 0
    assert ENTRY.title in CliRunner().invoke(app, command).stdout


def test_the_help_of_the_command_names_it() -> None:
    # The help is made when the module is imported, so a copy of the module is imported beside the first.
    spec = importlib.util.find_spec("distill_core.cli.explain")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    command = typer.Typer()
    command.command()(module.explain)
    assert ENTRY.key in CliRunner().invoke(command, ["--help"], env={"COLUMNS": "300"}).stdout


def test_it_is_built_with_the_settings_of_its_entry(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    inputs, target = collate([encode(model.tokenizer, "good film")], model.pad_id), torch.tensor([0])
    scores = attribute(ENTRY.key, model, inputs, target).scores
    assert torch.equal(scores, 2 * attribute(TokenLength(), model, inputs, target).scores)


def test_it_is_exported_with_its_words(folders: list[str]) -> None:
    models = [load_model(Path(folder)) for folder in folders]
    explanation = explain_with("sst2", "good film", teacher=models[0], students=models[1:], method=ENTRY.key)
    rows = list(csv.DictReader(io.StringIO(downloads.to_csv(explanation))))
    expected = [score for model in explanation.models for score in model.attributions[0].scores]
    assert [float(row["score"]) for row in rows] == expected
    assert json.loads(downloads.to_json(explanation, {}))["method"] == ENTRY.key
    assert ENTRY.title in figure.document(explanation, ["Teacher", "Student"], None, {})


def test_its_maps_are_cached_until_its_cache_key_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, cache = tiny_model(tmp_path / "model"), ExplanationCache(tmp_path / "cache.sqlite")

    def cached() -> bool:
        explanation = explain_with("sst2", "good film", teacher=model, method=ENTRY.key, cache=cache)
        return explanation.models[0].cached

    assert [cached(), cached()] == [False, True]
    monkeypatch.setitem(ATTRIBUTION_METHODS, ENTRY.key, replace(ENTRY, cache_key="token length, version 2"))
    assert [cached(), cached()] == [False, True]


def test_it_is_documented() -> None:
    (row,) = (line for line in methods_table(ATTRIBUTION_METHODS.values()).splitlines() if ENTRY.key in line)
    for words in (ENTRY.title, ENTRY.idea, ENTRY.formula, ENTRY.limits, ENTRY.source):
        assert words in row
