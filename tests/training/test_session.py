"""A run built from its settings, in this process, with a tiny teacher."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distill_core.catalog.compatibility import find_teacher
from distill_core.config.methods import DISTILLATION_METHODS, terms_of
from distill_core.config.run_config import RunConfig
from distill_core.data.column_mapping import guess_mapping
from distill_core.data.datasets import load_split
from distill_core.data.tasks import get_task
from distill_core.data.user_datasets import add_user_dataset
from distill_core.data.user_files import read_table
from distill_core.errors import ConfigError, DataError, ModelError, RunError
from distill_core.models.bundle import open_model
from distill_core.models.encoder import load_model, read_record
from distill_core.runs.events import DataUsed, Measured, Note, Phase
from distill_core.training.session import prepare, run_data
from pages.components.run.form import data_words
from tests.support.crossing import turns
from tests.support.tiny import tiny_folder
from tests.support.tiny_architectures import sentiment_folder

pytestmark = pytest.mark.usefixtures("few_examples")


def config(tmp_path: Path, *, task: str = "sst2", **changes: object) -> RunConfig:
    teacher = str(tiny_folder(tmp_path / "teacher", layers=2, task=task))
    values: dict[str, object] = {
        "task": task, "teacher": teacher, "student_layers": 1, "source": "bundled", "steps": 4, "batch_size": 4,
        "evaluate_every": 2, "device": "cpu", "max_length": 32, "weak_teacher": "go_on",
    }  # fmt: skip
    return RunConfig.from_values(values | changes)


def layers(method: str) -> int:
    """Return how many layers a student needs at least: matched layers lie between others."""
    return 2 if "matching" in DISTILLATION_METHODS[method].settings else 1


@pytest.mark.parametrize("method", DISTILLATION_METHODS)
def test_a_run_measures_trains_and_saves_a_plain_folder(tmp_path: Path, method: str) -> None:
    session = prepare(config(tmp_path, method=method, student_layers=layers(method)))
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
    trained = next(event.values for event in measured if "loss" in event.values)
    assert {term.name for term in terms_of(method)} <= trained.keys()
    assert trained["loss"] == pytest.approx(sum(trained[f"weighted/{term.name}"] for term in terms_of(method)))
    assert any(isinstance(event, Phase) and event.name == "training" for event in events)
    train, validation = (event for event in events if isinstance(event, DataUsed))
    drawn, look = load_split("sst2", "train", "bundled").sample(16, 0), load_split("sst2", "validation", "bundled")
    assert train == DataUsed("train", drawn.source, 16, drawn.fingerprint)
    assert validation == DataUsed("validation", look.source, len(look.examples), look.fingerprint)

    session.save(tmp_path / "student", {"run": "r"})
    student = load_model(tmp_path / "student")
    assert student.network.config.num_hidden_layers == layers(method)
    record = read_record(tmp_path / "student")
    assert (record["task"], record["run"]) == ("sst2", "r")
    assert record["parameters"] == sum(parameter.numel() for parameter in student.network.parameters())


def test_runs_of_all_seeds_learn_from_the_same_examples() -> None:
    chosen = [run_data(RunConfig(source="bundled", steps=2, batch_size=8, seed=seed))[0] for seed in (0, 1)]
    assert chosen[0].fingerprint == chosen[1].fingerprint
    assert len(chosen[0].examples) == 16 < len(load_split("sst2", "train", "bundled").examples)


@pytest.mark.parametrize(("task", "method"), turns(["mnli", "stsb", "cola"], DISTILLATION_METHODS))
def test_training_works_for_pairs_three_classes_and_scores(tmp_path: Path, task: str, method: str) -> None:
    session = prepare(config(tmp_path, task=task, method=method, student_layers=layers(method)))
    measured = [event for event in session.events() if isinstance(event, Measured)]
    metric = get_task(task).metric
    assert [event.step for event in measured if f"constant/{metric}" in event.values] == [0]
    assert [event.step for event in measured if f"validation/{metric}" in event.values] == [0, 2, 4]
    # a regression has no answer to share
    assert ("agreement/label_loyalty" in measured[-1].values) is (get_task(task).span is None)
    session.save(tmp_path / "student", {"run": "r"})
    assert open_model(str(tmp_path / "student"), task=task).labels == get_task(task).labels


def test_every_setting_is_passed_to_the_training(tmp_path: Path) -> None:
    def last_loss(**changes: object) -> tuple[float, ...]:
        events = list(prepare(config(tmp_path, method="ad_kd", **changes)).events())
        trained = [event.values for event in events if isinstance(event, Measured) and "loss" in event.values]
        return tuple(values["loss"] for values in trained)

    plain = last_loss()
    assert last_loss() == plain
    others = {
        "seed": 1, "method_weight": 5.0, "top_k": 3, "alpha": 0.2, "temperature": 5.0, "learning_rate": 1e-2,
        "batch_size": 8, "max_length": 8, "train_examples": 5, "kd_form": "kl", "temperature_schedule": "annealed",
        "method_delay": 2, "method_ramp": 3, "method_every": 2, "attribution_steps": 2, "map_norm": "l1",
        "map_distance": "l1",
    }  # fmt: skip
    same = [name for name, value in others.items() if last_loss(**{name: value}) == plain]
    assert same == []


def test_settings_of_matched_layers_are_passed_to_the_training(tmp_path: Path) -> None:
    def last_loss(**changes: object) -> float:
        given = config(tmp_path, method="pkd", **changes)
        teacher = str(tiny_folder(tmp_path / "deeper", layers=4, task="sst2"))
        events = list(prepare(replace(given, teacher=teacher, student_layers=2)).events())
        return [event.values["loss"] for event in events if isinstance(event, Measured) and "loss" in event.values][-1]

    plain = last_loss()
    assert last_loss(pkd_weight=5.0) != plain
    assert last_loss(matching="last") != plain
    assert last_loss(pkd_weight=0.0) == last_loss(matching="last", pkd_weight=0.0)


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("egkd_perturbation", "erasures", 2),
        ("egkd_perturbation", "erasures_each_step", 3),
        ("egkd_feature_selection", "rationale_share", 0.9),
        ("minilm", "relation_heads", 2),
        ("minilm", "relation_layer", 1),
    ],
)
def test_settings_of_a_method_are_passed_to_the_training(
    tmp_path: Path, method: str, setting: str, value: float
) -> None:
    def losses(**changes: object) -> list[float]:
        events = list(prepare(config(tmp_path, method=method, method_weight=10.0, **changes)).events())
        return [event.values["loss"] for event in events if isinstance(event, Measured) and "loss" in event.values]

    assert losses(**{setting: value}) != losses()


def test_a_student_without_inner_layers_is_refused_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="A student of 1 layers has none that PKD-skip can match"):
        list(prepare(config(tmp_path, method="gkd_cls")).events())


@pytest.mark.parametrize("begins", ["first", "even", "last", "random"])
def test_a_student_starts_from_the_configured_weights(tmp_path: Path, begins: str) -> None:
    teacher = tiny_folder(tmp_path / "deep", layers=4, task="sst2")
    given = replace(config(tmp_path, student_init=begins, learning_rate=1e-8), teacher=str(teacher), student_layers=2)
    session = prepare(given)
    list(session.events())
    session.save(tmp_path / "student", {"run": "r"})
    theirs, ours = (load_model(path).network.state_dict() for path in (teacher, tmp_path / "student"))
    kept = {"first": (0, 1), "even": (1, 3), "last": (2, 3)}.get(begins)
    name = "bert.encoder.layer.{}.attention.self.query.weight"
    if kept is None:
        alike = [torch.allclose(ours[name.format(0)], theirs[name.format(at)], atol=1e-4) for at in range(4)]
        assert not any(alike)
        assert "bert.encoder.layer.2.attention.self.query.weight" not in ours
    else:
        for at, of_teacher in enumerate(kept):
            torch.testing.assert_close(ours[name.format(at)], theirs[name.format(of_teacher)], rtol=0, atol=1e-4)
    embeddings = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(ours[embeddings], theirs[embeddings]) is (begins != "random")


def test_a_random_student_depends_only_on_the_seed(tmp_path: Path) -> None:
    def first_loss(seed: int) -> float:
        events = prepare(config(tmp_path, student_init="random", seed=seed, dropout="off")).events()
        return next(event.values["loss"] for event in events if isinstance(event, Measured) and "loss" in event.values)

    assert first_loss(1) == first_loss(1) != first_loss(2)


@pytest.mark.parametrize("method", DISTILLATION_METHODS)
def test_a_narrower_student_trains_if_the_method_allows_it(tmp_path: Path, method: str) -> None:
    narrow = tiny_folder(tmp_path / "narrow", layers=2, task="sst2", width=8)
    given = config(tmp_path, method=method, student_init=str(narrow))
    if DISTILLATION_METHODS[method].same_width:
        with pytest.raises(ModelError, match=r"is 8 wide, its teacher 16: choose a student of the same width"):
            find_teacher(given)
        return
    find_teacher(given)
    session = prepare(given)
    measured = [event.values for event in session.events() if isinstance(event, Measured)]
    assert sum("loss" in values for values in measured) == 4
    session.save(tmp_path / "student", {"run": "r"})
    before, after = (load_model(path).network for path in (narrow, tmp_path / "student"))
    assert after.config.hidden_size == 8
    name = "bert.embeddings.word_embeddings.weight"
    assert not torch.equal(before.state_dict()[name], after.state_dict()[name])


def test_a_student_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other", layers=1, task="cola")
    with pytest.raises(ModelError, match="was trained for task cola, not for sst2"):
        find_teacher(config(tmp_path, student_init=str(other)))
    with pytest.raises(ModelError, match="Unknown model"):
        find_teacher(config(tmp_path, student_init="nowhere"))
    cut = sentiment_folder(tmp_path / "roberta", "roberta")
    with pytest.raises(ModelError, match="split text into different tokens"):
        list(prepare(config(tmp_path, student_init=str(cut))).events())


@pytest.mark.parametrize("method", [name for name, info in DISTILLATION_METHODS.items() if info.erases])
def test_a_teacher_without_a_mask_is_refused_before_anything_is_computed(tmp_path: Path, method: str) -> None:
    given = config(tmp_path, method=method)
    file = tmp_path / "teacher" / "tokenizer_config.json"
    told = json.loads(file.read_text())
    del told["mask_token"]
    file.write_text(json.dumps(told))
    events = prepare(given).events()
    assert isinstance(next(events), Phase)
    with pytest.raises(ModelError, match=r"replaces tokens by \[MASK\], and the tokenizer of .* has no such token"):
        next(events)


@pytest.mark.parametrize("method", [name for name, info in DISTILLATION_METHODS.items() if info.same_embedding_width])
def test_embeddings_of_other_widths_are_refused_by_name(tmp_path: Path, method: str) -> None:
    narrow = tiny_folder(tmp_path / "narrow", layers=layers(method), width=8)
    with pytest.raises(ModelError, match=r"compares gradients at the embeddings, which must have one width; .* has 8"):
        list(prepare(config(tmp_path, method=method, student_init=str(narrow))).events())


def test_a_user_dataset_can_be_trained_on(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"film number {at},{at % 2}\n" for at in range(20))
    table = read_table("reviews.csv", content.encode())
    own = add_user_dataset(table, "sst2", guess_mapping(get_task("sst2"), table))
    events = list(prepare(config(tmp_path, source=own.source)).events())
    used = [event for event in events if isinstance(event, DataUsed)]
    assert [(event.split, event.examples) for event in used] == [("train", 16), ("validation", 4)]
    assert {event.source for event in used} == {"reviews (own data, reviews.csv)"}
    assert any("validation/accuracy" in event.values for event in events if isinstance(event, Measured))


def test_training_data_of_a_single_class_yields_a_note(tmp_path: Path) -> None:
    content = (
        "text,label,split\n" + "".join(f"film number {at},1,train\n" for at in range(6)) + "one,0,dev\ntwo,1,dev\n"
    )
    table = read_table("reviews.csv", content.encode())
    own = add_user_dataset(table, "sst2", guess_mapping(get_task("sst2"), table))
    given = config(tmp_path, source=own.source)
    events = list(prepare(given).events())
    assert any(
        isinstance(event, Note) and "All training examples have the label positive" in event.text for event in events
    )
    assert "All of them have the label positive, so there is nothing to learn." in data_words(given)
    assert "nothing to learn" not in data_words(config(tmp_path))


def test_saving_without_a_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no student to save"):
        prepare(config(tmp_path)).save(tmp_path / "student", {})


def test_unusable_models_and_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="1 to 2 layers, not 5"):
        list(prepare(config(tmp_path, student_layers=5)).events())
    with pytest.raises(ModelError, match="bundled/sst2-teacher"):
        list(prepare(config(tmp_path, teacher="bundled/nope")).events())
    with pytest.raises(DataError, match="does not exist"):
        list(prepare(config(tmp_path, source=str(tmp_path / "nowhere"))).events())
