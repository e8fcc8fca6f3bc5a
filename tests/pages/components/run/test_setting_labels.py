"""A run's settings are shown in the words of the form, and only those that the run used."""

from dataclasses import replace
from typing import Any

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.runs.events import DataUsed
from distill_core.runs.store import Store
from pages.components.run.setting_labels import CHOICES, EMPTY, used_settings


def used(store: Store, device: str | None = "cpu", **settings: Any) -> dict[str, str]:
    run_id = f"run-{len(store.runs())}"
    store.add(run_id, RunConfig(**settings))
    return used_settings(replace(store.get(run_id), device=device))


def test_no_value_is_shown_as_its_key(store: Store) -> None:
    for method in DISTILLATION_METHODS:
        shown = used(store, method=method)
        assert shown["Method"] == DISTILLATION_METHODS[method].title
        keys = {choice for spec in FIELDS.values() for choice in spec.choices} - {"1", "bfloat16", "float32"}
        assert not keys & set(shown.values())
        assert shown["Student starts from"] == "Teacher’s first layers"
        assert shown["Task"] == "SST-2"
    for name, words in CHOICES.items():
        assert set(words) == set(FIELDS[name].choices)
    assert set(EMPTY) == {name for name, spec in FIELDS.items() if spec.optional}


def test_settings_that_the_method_does_not_read_are_left_out(store: Store) -> None:
    assert used(store, method="ad_kd", attribution_steps=8)["Attribution steps m"] == "8"
    assert "Attribution steps m" not in used(store, method="kd")
    assert "PKD weight β" not in used(store, method="ad_kd")
    assert "Layers" not in used(store, student_init="bundled/sst2-kd")
    assert used(store, student_init="bundled/sst2-kd")["Student starts from"].endswith("(bundled/sst2-kd)")
    assert used(store, teacher="no longer there")["Teacher"] == "no longer there"


def test_the_number_of_examples_that_the_steps_used_is_shown(store: Store) -> None:
    store.add("one", RunConfig(steps=20, batch_size=32))
    data = [DataUsed("train", "Films", 640, "a"), DataUsed("validation", "Films", 872, "b")]
    assert used_settings(store.get("one"), data)["Training examples"] == "All (640 used)"
    store.add("two", RunConfig(train_examples=640))
    assert used_settings(store.get("two"), data)["Training examples"] == "640"
    assert used_settings(store.get("one"))["Training examples"] == "All"


def test_automatic_choices_are_marked(store: Store) -> None:
    assert used(store, method="gkd")["Dropout"] == "Off (as published)"
    assert used(store, method="ad_kd")["Dropout"] == "On (as published)"
    assert used(store, method="ad_kd", dropout="off")["Dropout"] == "Off"
    shown = used(store, max_minutes=2.5)
    assert (shown["Device"], shown["Precision"]) == ("CPU (chosen automatically)", "float32 (chosen automatically)")
    assert shown["Time limit (minutes)"] == "2.5"
    assert used(store, device=None)["Device"] == "Automatic"
