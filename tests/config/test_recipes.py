"""The published recipes: what they set, and what a run has otherwise."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.recipes import GLUE_SIZES, RECIPES, YOURS, changes_in_words, get_recipe, recipes_for
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.data.tasks import TASKS
from distill_core.errors import ConfigError
from distill_core.runs.store import Store
from tests.support.opening import open_page
from tests.support.tiny import tiny_folder


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_run(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.task in TASKS
    config = RunConfig.from_values(recipe.values(1000))
    assert config.steps == recipe.epochs * -(-1000 // config.batch_size)
    assert changes_in_words(recipe, config, 1000) == f"Settings as published. {YOURS}"
    assert recipe.changes(config, 1000) == {}
    assert recipe in recipes_for(recipe.task, recipe.method)
    read = {
        setting
        for setting in recipe.settings
        if any(setting in info.settings for info in DISTILLATION_METHODS.values())
    }
    assert read <= set(DISTILLATION_METHODS[recipe.method].settings)


PUBLISHED = {  # task: epochs, batch, learning rate, α, τ, w, K, schedule of τ; Wu et al. 2023, the authors' scripts
    "cola": (10, 32, 4e-5, 0.9, 1, 1, 768, "fixed"),
    "sst2": (6, 32, 5e-5, 0.8, 2, 1, 768, "fixed"),
    "mrpc": (10, 16, 3e-5, 0.9, 4, 10, 768, "annealed"),
    "stsb": (8, 16, 5e-5, 0.8, 3, 1, 640, "fixed"),
    "qqp": (8, 32, 4e-5, 1.0, 4, 50, 734, "annealed"),
    "mnli": (6, 64, 4e-5, 0.8, 3, 10, 768, "annealed"),
    "qnli": (6, 32, 4e-5, 0.9, 3, 100, 768, "fixed"),
    "rte": (12, 16, 2e-5, 0.9, 2, 10, 700, "fixed"),
}
SIZES = {  # training examples of GLUE, Wang et al. 2019, as the hub has them
    "cola": 8551, "sst2": 67349, "mrpc": 3668, "stsb": 5749, "qqp": 363846, "mnli": 392702, "qnli": 104743, "rte": 2490,
}  # fmt: skip


@pytest.mark.parametrize("task", PUBLISHED)
def test_ad_kds_recipes_are_those_of_its_authors(task: str) -> None:
    epochs, batch, rate, alpha, tau, weight, top_k, schedule = PUBLISHED[task]
    run = RunConfig.from_values(get_recipe(f"ad-kd/{task}").values(GLUE_SIZES[task]))
    assert run.steps == epochs * -(-SIZES[task] // batch)
    assert (run.batch_size, run.learning_rate, run.alpha, run.temperature) == (batch, rate, alpha, tau)
    assert (run.method_weight, run.top_k or 768, run.temperature_schedule) == (weight, top_k, schedule)
    assert (run.kd_form, run.attribution_steps, run.map_norm, run.map_distance) == ("cross_entropy", 1, "l2", "l2")


@pytest.mark.parametrize("task", ["sst2", "qnli", "mnli", "qqp"])
def test_gkds_recipes_are_its_authors_defaults(task: str) -> None:
    run = RunConfig.from_values(get_recipe(f"gkd/{task}").values(SIZES[task]))
    assert (run.steps, run.batch_size, run.learning_rate) == (4 * -(-SIZES[task] // 32), 32, 5e-5)
    assert (run.temperature, run.alpha, run.kd_form, run.uses_dropout, run.max_length) == (5, 0.5, "kl", False, 128)


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Unknown recipe 'ad-kd/wnli'; choose one of: ad-kd/cola"):
        get_recipe("ad-kd/wnli")


def test_what_was_changed_is_said() -> None:
    recipe = get_recipe("ad-kd/qqp")
    config = RunConfig.from_values(recipe.values(320) | {"steps": 20, "top_k": None, "matching": "last"})
    said = "Changed: Steps 20 (published: 80 in 8 epochs); Top dimensions K all (published: 734)."
    assert changes_in_words(recipe, config, 320) == f"{said} {YOURS}"


@pytest.mark.parametrize(
    "changed",
    [{"method_every": 50}, {"method_delay": 9}, {"method_ramp": 5}, {"dropout": "off"}, {"train_examples": 64}],
)
def test_what_the_papers_do_without_is_a_change(changed: dict[str, object]) -> None:
    recipe = get_recipe("ad-kd/sst2")
    config = RunConfig.from_values(recipe.values(1000) | changed)
    assert recipe.changes(config, 1000).keys() == changed.keys()


def test_a_weight_that_is_not_published_is_named() -> None:
    recipe = get_recipe("gkd/sst2")
    config = RunConfig.from_values(recipe.values(1000) | {"method_weight": 3.0})
    assert changes_in_words(recipe, config, 1000).startswith("Changed: Method weight w 3 (none published).")


def test_k_stands_for_a_share_of_the_teachers_dimensions() -> None:
    recipe = get_recipe("ad-kd/rte")
    config = RunConfig.from_values(recipe.values(1000, width=384))
    assert config.top_k == 350
    said = changes_in_words(recipe, config, 1000, width=384)
    assert said == f"Settings as published. K is 350 of 384 dimensions (published: 700 of 768). {YOURS}"
    assert RunConfig.from_values(get_recipe("ad-kd/sst2").values(1000, width=384)).top_k is None  # all


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
    assert "Changed: Steps 2 (published: 390 in 6 epochs); Batch size 4 (published: 32)." in " ".join(
        done.stderr.split()
    )
    config = Store().get(json.loads(done.stdout)["run"]).config
    assert (config.learning_rate, config.top_k, config.batch_size) == (5e-5, None, 4)
    wrong = CliRunner().invoke(app, ["distill", "--recipe", "ad-kd/sst2", "--task", "cola"])
    assert "Recipe ad-kd/sst2 is for task sst2 and method ad_kd" in str(wrong.exception)


def test_a_recipe_on_the_page() -> None:
    page = open_page("distill.py", {})
    page.selectbox(key="distill.source").set_value("bundled").run()
    page.button(key="distill.use_recipe").click().run()
    assert not page.error
    assert page.number_input(key="distill.learning_rate").value == 5e-5
    assert page.number_input(key="distill.steps").value == 6 * -(-2060 // 32)
    assert "Settings as published." in " ".join(one.value.replace("\\", "") for one in page.caption)
    page.number_input(key="distill.steps").set_value(10).run()
    said = " ".join(one.value.replace("\\", "") for one in page.caption)
    assert "Changed: Steps 10 (published: 390 in 6 epochs)." in said
    page.selectbox(key="distill.method").set_value("pkd").run()
    assert "distill.use_recipe" not in {button.key for button in page.button}
    assert all(name in FIELDS for name in RECIPES["ad-kd/sst2"].settings)
