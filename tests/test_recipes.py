"""The published recipes: what they set, and what a run has otherwise."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.config import FIELDS, RunConfig
from distill_core.errors import ConfigError
from distill_core.methods import METHODS
from distill_core.recipes import RECIPES, changes_in_words, get_recipe, recipes_for
from distill_core.store import Store
from distill_core.tasks import TASKS
from tests.pages.opening import open_page
from tests.tiny import tiny_folder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_run(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.task in TASKS
    config = RunConfig.from_values(recipe.values(1000))
    assert config.steps == recipe.epochs * -(-1000 // config.batch_size)
    assert changes_in_words(recipe, config, 1000) == "As published."
    assert recipe in recipes_for(recipe.task, recipe.method)
    read = {setting for setting in recipe.settings if any(setting in info.settings for info in METHODS.values())}
    assert read <= set(METHODS[recipe.method].settings)


def test_recipes_are_those_of_the_papers() -> None:
    mnli = RunConfig.from_values(get_recipe("ad-kd/mnli").values(392_702))
    assert (mnli.steps, mnli.batch_size, mnli.learning_rate, mnli.alpha, mnli.temperature) == (36_816, 64, 4e-5, 0.8, 3)
    assert (mnli.method_weight, mnli.top_k, mnli.temperature_schedule, mnli.kd_form) == (
        10,
        768,
        "annealed",
        "cross_entropy",
    )
    gkd = RunConfig.from_values(get_recipe("gkd/sst2").values(67_349))
    assert (gkd.steps, gkd.temperature, gkd.alpha, gkd.kd_form, gkd.uses_dropout) == (8_420, 5, 0.5, "kl", False)
    with pytest.raises(ConfigError, match="Unknown recipe 'ad-kd/wnli'; choose one of: ad-kd/cola"):
        get_recipe("ad-kd/wnli")


def test_what_was_changed_is_said() -> None:
    recipe = get_recipe("ad-kd/qqp")
    config = RunConfig.from_values(recipe.values(320) | {"steps": 20, "top_k": None, "matching": "last"})
    assert (
        changes_in_words(recipe, config, 320)
        == "Changed: Steps 20 (published 80); Top dimensions K all (published 734)."
    )


def test_a_recipe_on_the_command_line(tmp_path: Path) -> None:
    teacher = tiny_folder(tmp_path / "teacher", layers=2)
    given = (
        "--teacher",
        str(teacher),
        "--steps",
        "2",
        "--student-layers",
        "1",
        "--source",
        "bundled",
        "--device",
        "cpu",
    )
    more = ("--batch-size", "4", "--weak-teacher", "go_on", "--evaluate-every", "2")
    done = CliRunner().invoke(app, ["distill", "--recipe", "ad-kd/sst2", *given, *more, "--json"])
    assert done.exit_code == 0, done.output
    assert "Changed: Steps 2 (published 390); Batch size 4 (published 32)." in " ".join(done.stderr.split())
    config = Store().get(json.loads(done.stdout)["run"]).config
    assert (config.learning_rate, config.top_k, config.batch_size) == (5e-5, 768, 4)
    wrong = CliRunner().invoke(app, ["distill", "--recipe", "ad-kd/sst2", "--task", "cola"])
    assert "Recipe ad-kd/sst2 is for task sst2 and method ad_kd" in str(wrong.exception)


def test_a_recipe_on_the_page() -> None:
    page = open_page("distill.py", {})
    page.selectbox(key="distill.source").set_value("bundled").run()
    page.button(key="distill.use_recipe").click().run()
    assert not page.error
    assert page.number_input(key="distill.learning_rate").value == 5e-5
    assert page.number_input(key="distill.steps").value == 6 * -(-2060 // 32)
    assert "As published." in " ".join(one.value.replace("\\", "") for one in page.caption)
    page.number_input(key="distill.steps").set_value(10).run()
    said = " ".join(one.value.replace("\\", "") for one in page.caption)
    assert "Changed: Steps 10 (published 390)." in said
    page.selectbox(key="distill.method").set_value("pkd").run()
    assert "distill.use_recipe" not in {button.key for button in page.button}
    assert all(name in FIELDS for name in RECIPES["ad-kd/sst2"].settings)
