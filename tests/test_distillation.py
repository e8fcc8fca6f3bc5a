"""A run from its settings, in this process, on a tiny teacher."""

import math
from pathlib import Path

import pytest

from distill_core.bundle import open_model
from distill_core.config import RunConfig
from distill_core.data import load_split
from distill_core.distillation import prepare
from distill_core.errors import DataError, ModelError, RunError
from distill_core.events import DataUsed, Measured, Phase
from distill_core.models import load_model, read_record
from distill_core.own_data import add_own
from distill_core.own_files import read_table
from distill_core.own_mapping import guess_mapping
from distill_core.tasks import get_task
from tests.tiny import tiny_folder


def config(tmp_path: Path, *, task: str = "sst2", **changes: object) -> RunConfig:
    teacher = str(tiny_folder(tmp_path / "teacher", layers=2, task=task))
    values: dict[str, object] = {
        "task": task, "teacher": teacher, "student_layers": 1, "source": "bundled", "steps": 4, "batch_size": 4,
        "evaluate_every": 2, "device": "cpu", "max_length": 32,
    }  # fmt: skip
    return RunConfig.from_values(values | changes)


@pytest.mark.parametrize("method", ["kd", "ad_kd"])
def test_a_run_measures_trains_and_saves_a_plain_folder(tmp_path: Path, method: str) -> None:
    session = prepare(config(tmp_path, method=method))
    events = list(session.events())
    measured = [event for event in events if isinstance(event, Measured)]
    assert [event.step for event in measured if "validation/accuracy" in event.values] == [0, 2, 4]
    last = measured[-1].values
    assert {
        "agreement/cosine",
        "agreement/spearman",
        "agreement/signed_cosine",
        "agreement/label_loyalty",
    } <= last.keys()
    assert ("ad_kd" in measured[2].values) is (method == "ad_kd")
    assert any(isinstance(event, Phase) and event.name == "training" for event in events)
    train, validation = (event for event in events if isinstance(event, DataUsed))
    drawn, look = load_split("sst2", "train", "bundled").sample(16, 0), load_split("sst2", "validation", "bundled")
    assert train == DataUsed("train", drawn.source, 16, drawn.fingerprint)
    assert validation == DataUsed("validation", look.source, len(look.examples), look.fingerprint)

    session.save(tmp_path / "student", {"run": "r"})
    student = load_model(tmp_path / "student")
    assert student.network.config.num_hidden_layers == 1
    record = read_record(tmp_path / "student")
    assert (record["task"], record["run"]) == ("sst2", "r")
    assert record["parameters"] == sum(parameter.numel() for parameter in student.network.parameters())


@pytest.mark.parametrize("method", ["kd", "ad_kd"])
@pytest.mark.parametrize("task", ["mnli", "stsb", "cola"])
def test_pairs_three_classes_and_scores_are_learned_alike(tmp_path: Path, task: str, method: str) -> None:
    session = prepare(config(tmp_path, task=task, method=method))
    measured = [event for event in session.events() if isinstance(event, Measured)]
    metric = get_task(task).metric
    assert [event.step for event in measured if f"constant/{metric}" in event.values] == [0]
    assert [event.step for event in measured if f"validation/{metric}" in event.values] == [0, 2, 4]
    shared = measured[-1].values["agreement/label_loyalty"]
    assert math.isnan(shared) is (get_task(task).span is not None)
    session.save(tmp_path / "student", {"run": "r"})
    assert open_model(str(tmp_path / "student"), task=task).labels == get_task(task).labels


def test_each_setting_reaches_the_training(tmp_path: Path) -> None:
    def last_loss(**changes: object) -> tuple[float, ...]:
        events = list(prepare(config(tmp_path, method="ad_kd", **changes)).events())
        trained = [event.values for event in events if isinstance(event, Measured) and "loss" in event.values]
        return tuple(values["loss"] for values in trained)

    plain = last_loss()
    assert last_loss() == plain
    others = {
        "seed": 1, "attribution_weight": 5.0, "top_k": 3, "alpha": 0.2, "temperature": 5.0, "learning_rate": 1e-2,
        "batch_size": 8, "max_length": 8, "train_examples": 5,
    }  # fmt: skip
    same = [name for name, value in others.items() if last_loss(**{name: value}) == plain]
    assert same == []


def test_own_data_is_trained_on_as_any_other(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"film number {at},{at % 2}\n" for at in range(20))
    table = read_table("reviews.csv", content.encode())
    own = add_own(table, "sst2", guess_mapping(get_task("sst2"), table))
    events = list(prepare(config(tmp_path, source=own.source)).events())
    used = [event for event in events if isinstance(event, DataUsed)]
    assert [(event.split, event.examples) for event in used] == [("train", 16), ("validation", 4)]
    assert {event.source for event in used} == {"reviews (own data, reviews.csv)"}
    assert any("validation/accuracy" in event.values for event in events if isinstance(event, Measured))


def test_saving_before_there_is_a_student_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no student yet"):
        prepare(config(tmp_path)).save(tmp_path / "student", {})


def test_what_cannot_be_used_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="1 to 2 layers, not 5"):
        list(prepare(config(tmp_path, student_layers=5)).events())
    with pytest.raises(ModelError, match="bundled/sst2-teacher"):
        list(prepare(config(tmp_path, teacher="bundled/nope")).events())
    with pytest.raises(DataError, match="does not exist"):
        list(prepare(config(tmp_path, source=str(tmp_path / "nowhere"))).events())
