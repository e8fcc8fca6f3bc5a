"""RunConfig: every bad value is refused by name, range and value, and a config survives JSON."""

import json
import re
import shlex

import pytest
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.config.run_config import FIELDS, RENAMED, RunConfig
from distill_core.errors import ConfigError


def test_defaults_are_within_their_own_ranges() -> None:
    config = RunConfig()
    assert {name: getattr(config, name) for name in FIELDS} == {name: spec.default for name, spec in FIELDS.items()}


@pytest.mark.parametrize("name", [name for name, spec in FIELDS.items() if spec.kind in ("int", "float")])
def test_numbers_outside_their_range_are_refused_by_name_value_and_range(name: str) -> None:
    spec = FIELDS[name]
    assert spec.minimum is not None
    assert spec.maximum is not None
    for bad in (spec.minimum - 1, spec.maximum * 2 + 1):
        value = int(bad) if spec.kind == "int" else bad
        with pytest.raises(ConfigError) as caught:
            RunConfig.from_values({name: value})
        message = str(caught.value)
        assert f"({name}) is {value!r}; " in message
        assert f"from {spec.minimum:,.10g} to {spec.maximum:,.10g}" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", -1),
        ("steps", True),
        ("steps", 2.0),
        ("steps", None),
        ("steps", 10**400),
        ("max_length", -5),
        ("seed", "0"),
        ("alpha", float("nan")),
        ("temperature", float("inf")),
        ("method_weight", "1"),
        ("method", "magic"),
        ("method", ["kd"]),
        ("device", "tpu"),
        ("task", "no such task"),
        ("teacher", ""),
        ("teacher", None),
        ("name", "two\nlines"),
        ("name", "\ud800"),
        ("name", "x" * 10_000),
    ],
)
def test_a_wrong_value_is_refused_in_one_readable_line(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"\({name}\) is ") as caught:
        RunConfig.from_values({name: value})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["steps", "alpha", "name", "method"])
def test_a_value_that_cannot_be_printed_is_refused_in_one_line_too(name: str) -> None:
    nested: object = None
    for _ in range(10_000):
        nested = [nested]
    for value in (10**5000, nested):
        with pytest.raises(ConfigError, match=rf"\({name}\) is <{type(value).__name__} too large to print>; "):
            RunConfig.from_values({name: value})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_values({"steps": 0, "alpha": 2.0, "seed": 1, "dropout": "maybe"})
    message = str(caught.value)
    assert [name for name in FIELDS if f"({name})" in message] == ["steps", "alpha", "dropout"]
    assert "\n" not in message


def test_names_in_any_script_and_with_emoji_are_kept() -> None:
    for name in ("../../etc", "<b>bold</b>", "ночной прогон", "تجربة", "👩‍💻 run"):
        assert RunConfig.from_json(RunConfig(name=name).to_json()).name == name


def test_json_both_ways() -> None:
    config = RunConfig(method="kd", steps=7, train_examples=100, top_k=8, alpha=1, name="α = 1")
    assert RunConfig.from_json(config.to_json()) == config
    assert isinstance(config.alpha, float)


def test_a_missing_key_takes_its_default_and_an_unknown_one_is_refused() -> None:
    assert RunConfig.from_json('{"steps": 5}') == RunConfig(steps=5)
    with pytest.raises(ConfigError, match=r"'stepz'.*choose among: task, teacher"):
        RunConfig.from_json('{"stepz": 5}')


OLD_SETTINGS = {
    "attribution_weight": 7.0, "patience_weight": 5.0, "student": "even", "watched": "agreement/cosine", "patience": 3
}  # fmt: skip
CURRENT = RunConfig(
    method_weight=7.0, pkd_weight=5.0, student_init="even", monitor="agreement/cosine", early_stopping_patience=3
)


def test_settings_of_an_earlier_version_are_read_under_their_old_names() -> None:
    assert RENAMED.keys() == OLD_SETTINGS.keys()
    assert RunConfig.from_json(json.dumps(OLD_SETTINGS)) == CURRENT
    assert set(RENAMED.values()) <= set(FIELDS)
    with pytest.raises(ConfigError, match="contain patience and early_stopping_patience, two names of one setting"):
        RunConfig.from_values({"patience": 3, "early_stopping_patience": 3})


def test_options_of_an_earlier_version_are_accepted_and_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = taken_by_submit(monkeypatch)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OLD_SETTINGS.items()]
    CliRunner().invoke(app, ["distill", *options])
    assert taken == [CURRENT]
    help_text = CliRunner().invoke(app, ["distill", "--help"]).output
    for name in OLD_SETTINGS:
        assert not re.search(rf"--{name.replace('_', '-')}\s", help_text)


def test_a_record_without_a_word_on_what_is_kept_keeps_best_and_last() -> None:
    values = json.loads(RunConfig().to_json())
    del values["keep"]
    assert RunConfig.from_json(json.dumps(values)).keep == "best_and_last"
    assert "--keep=best" in RunConfig(keep="best").command
    assert "--keep" not in RunConfig().command


def test_every_term_has_its_weight() -> None:
    config = RunConfig(method="gkd_cls", alpha=0.75, method_weight=3.0, pkd_weight=20.0)
    assert config.weights == {"ce": 0.25, "kd": 0.75, "gkd": 3.0, "gkd_cls": 3.0, "pkd": 20.0}
    assert RunConfig(method="kd", alpha=1.0).weights == {"ce": 0.0, "kd": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "null",
        "[" * 100_000,
        '{"steps": ' + "[" * 900 + "]" * 900 + "}",
        '{"steps": 1' + "0" * 5000 + "}",
    ],
    ids=lambda text: text[:12],
)
def test_damaged_json_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_json(text)
    assert len(str(caught.value)) < 300


def test_every_field_explains_itself_in_one_sentence() -> None:
    values = json.loads(RunConfig().to_json())
    assert list(values) == list(FIELDS)
    for name, spec in FIELDS.items():
        assert spec.name == name
        assert spec.label
        assert spec.help.endswith(".")
        assert len(spec.help) <= 100


def taken_by_submit(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Return the list that the settings of submitted runs are put into, in place of running them."""
    taken: list[RunConfig] = []

    def submit(_: object, config: RunConfig) -> str:
        taken.append(config)
        raise ConfigError("submitted")

    monkeypatch.setattr("distill_core.submission.submit", submit)
    return taken


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"method": "gkd_cls", "task": "mnli", "teacher": "bundled/mnli-teacher", "top_k": 3, "learning_rate": 1e-8},
        {"name": '-- it\'s "a" <b>name</b> ü', "seed": 7, "train_examples": 12, "max_minutes": 0.5},
    ],
)
def test_a_runs_command_line_is_that_run(values: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.from_values(values)
    taken = taken_by_submit(monkeypatch)
    words = shlex.split(config.command)
    assert words[:4] == ["python", "-m", "distill_core", "distill"]
    CliRunner().invoke(app, words[3:])
    assert taken == [config]
