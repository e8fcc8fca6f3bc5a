"""The training loop: it learns, is reproducible, reports its measurements, and refuses numbers that are not finite."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.errors import RunError
from distill_core.models.encoder import make_trainable
from distill_core.models.layers import keep_layers
from distill_core.models.tokenization import collate, length_batches
from distill_core.objectives import make_loss
from distill_core.runs.early_stopping import Stopping
from distill_core.runs.events import Event, Measured, Note, Phase
from distill_core.training.eta import EtaEstimator, Forecast
from distill_core.training.teacher_cache import TeacherCache
from distill_core.training.trainer import Training, TrainingSet
from tests.support.tiny import tiny_model, tiny_network
from tests.support.training_sets import training_set


def run(
    tmp_path: Path,
    key: str,
    *,
    steps: int = 8,
    settings: Mapping[str, object] | None = None,
    train: TrainingSet | None = None,
    rate: float = 1e-3,
    dropout: float = 0.0,
    memory: int = 1000,
) -> tuple[dict[str, Tensor], list[Event], TeacherCache]:
    teacher = tiny_model(tmp_path / "teacher", layers=2, seed=3)
    given = {
        "method": key,
        "student_layers": 2 if "matching" in DISTILLATION_METHODS[key].settings else 1,
        **(settings or {}),
    }
    config = RunConfig.from_values(given)
    student = make_trainable(keep_layers(teacher.network, config.student_layers))
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    if memory < 1000:
        _too_little_memory(student, memory)
    train = train or training_set()
    cache = TeacherCache(teacher, make_loss(config, config.student_layers, 2).objective, train.rows, train.labels)
    events = list(_events(student, train, cache, config, steps, rate))
    return {name: p.detach().clone() for name, p in student.named_parameters()}, events, cache


def _events(
    student: torch.nn.Module,
    train: TrainingSet,
    cache: TeacherCache | None,
    config: RunConfig,
    steps: int,
    rate: float,
) -> Iterator[Event]:
    loss = None if cache is None else make_loss(config, config.student_layers, 2)
    return Training(
        student=student, train=train, teacher=cache, loss=loss,
        dropout=config.uses_dropout, steps=steps, batch_size=4,
        micro_batch=config.micro_batch, mixed=config.precision == "bfloat16",
        learning_rate=rate, seed=5, evaluate=lambda: {"validation/accuracy": 0.5}, evaluate_every=3,
    ).events()  # fmt: skip


def _too_little_memory(student: torch.nn.Module, examples: int) -> None:
    """Let the last layer fail as a device does where a batch has more than so many examples."""

    def fail(_: object, given: tuple[Tensor]) -> None:
        if len(given[0]) > examples:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    student.classifier.register_forward_pre_hook(fail)


def values(events: list[Event], name: str) -> list[float]:
    return [event.values[name] for event in events if isinstance(event, Measured) and name in event.values]


@pytest.mark.parametrize("key", DISTILLATION_METHODS)
def test_the_same_run_twice_gives_the_same_weights(tmp_path: Path, key: str) -> None:
    first, _, _ = run(tmp_path, key)
    second, _, _ = run(tmp_path, key)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_equals_a_simple_loop() -> None:
    """AdamW with decay 0.01, norm clipped at 1, rate up over a tenth and then down to 0, dropout on."""
    train, steps, rate = training_set(), 12, 0.01
    ours, plain = (make_trainable(tiny_network(seed=1, dropout=0.3)) for _ in range(2))
    events = list(_events(ours, train, None, RunConfig(), steps, rate))
    torch.manual_seed(5)
    order = torch.Generator().manual_seed(5)
    lengths = [len(row.ids) for row in train.rows]
    batches = [batch for _ in range(3) for batch in length_batches(lengths, 4, order)][:steps]
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.01)
    norms = []
    for step, batch in enumerate(batches):
        plain.train()
        inputs = collate([train.rows[row] for row in batch], 0)
        kept = {"attention_mask": inputs.attention_mask, "token_type_ids": inputs.token_type_ids}
        found = plain(input_ids=inputs.input_ids, **kept).logits
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(found, train.labels[batch]).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.param_groups[0]["lr"] = rate * (0 if step == 0 else (steps - step) / (steps - 1))
        optimizer.step()
    assert max(norms) > 1  # else the clipping was not seen
    assert values(events, "gradient_norm") == pytest.approx(norms, rel=1e-5)
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7, msg=name)


def test_dropout_follows_the_setting() -> None:
    def trained(dropout: float, method: str, said: str = "published") -> list[float]:
        student = make_trainable(tiny_network(seed=1, dropout=dropout))
        config = RunConfig.from_values({"method": method, "dropout": said})
        return values(list(_events(student, training_set(), None, config, 3, 0.01)), "loss")

    without = trained(0.0, "kd")
    assert trained(0.3, "kd") != without
    assert trained(0.3, "ad_kd") != without
    assert trained(0.3, "gkd") == without  # its authors train without
    assert trained(0.3, "gkd", "on") != without
    assert trained(0.3, "kd", "off") == without


def test_another_method_gives_other_weights(tmp_path: Path) -> None:
    plain, _, _ = run(tmp_path, "kd")
    guided, _, _ = run(tmp_path, "ad_kd")
    assert any(not torch.equal(plain[name], guided[name]) for name in plain)


def test_the_loss_falls_and_embeddings_stay(tmp_path: Path) -> None:
    teacher = tiny_model(tmp_path / "teacher", layers=2, seed=3)
    after, events, _ = run(tmp_path, "ad_kd", steps=60, rate=5e-3)
    losses = values(events, "loss")
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    for name, before in teacher.network.named_parameters():
        if "embeddings" in name:
            assert torch.equal(after[name], before)


def test_the_total_is_the_sum_of_its_weighted_terms(tmp_path: Path) -> None:
    _, events, _ = run(tmp_path, "ad_kd", settings={"alpha": 0.7, "temperature": 3.0, "method_weight": 2.0})
    for event in events:
        if isinstance(event, Measured) and "loss" in event.values:
            v = event.values
            assert v["weighted/ce"] == pytest.approx(0.3 * v["ce"])
            assert v["weighted/kd"] == pytest.approx(0.7 * v["kd"])
            assert v["weighted/ad_kd"] == pytest.approx(2.0 * v["ad_kd"])
            assert v["loss"] == pytest.approx(v["weighted/ce"] + v["weighted/kd"] + v["weighted/ad_kd"], rel=1e-5)


@pytest.mark.parametrize("key", [key for key in DISTILLATION_METHODS if key != "kd"])
@pytest.mark.parametrize("settings", [{"method_weight": 0.0, "pkd_weight": 0.0}, {"method_delay": 100}])
def test_a_method_of_weight_0_is_plain_kd_bit_for_bit(tmp_path: Path, key: str, settings: dict[str, float]) -> None:
    common = {"dropout": "on", "student_layers": 2}
    plain, _, _ = run(tmp_path, "kd", settings=common, dropout=0.3)
    weighed, events, _ = run(tmp_path, key, settings=common | settings, dropout=0.3)
    assert values(events, DISTILLATION_METHODS[key].terms[0].name)[-1] > 0  # and yet it is measured
    assert all(torch.equal(plain[name], weighed[name]) for name in plain)


def test_the_method_weight_is_delayed_and_ramps_up(tmp_path: Path) -> None:
    _, events, _ = run(tmp_path, "ad_kd", settings={"method_weight": 8.0, "method_delay": 2, "method_ramp": 3})
    raw, weighted = values(events, "ad_kd"), values(events, "weighted/ad_kd")
    shares = [one / other for one, other in zip(weighted, raw, strict=True)]
    assert shares == pytest.approx([0, 0, 2, 4, 6, 8, 8, 8])


def test_the_gradient_share_of_each_term_is_reported(tmp_path: Path) -> None:
    _, events, _ = run(tmp_path, "ad_kd", steps=12, settings={"method_weight": 0.5})
    told = {event.step: event.values for event in events if isinstance(event, Measured) and "share/ce" in event.values}
    assert list(told) == [1, 11]
    for found in told.values():
        assert found["share/ce"] + found["share/kd"] + found["share/ad_kd"] == pytest.approx(1)
        assert min(found["share/ce"], found["share/kd"], found["share/ad_kd"]) > 0
    _, without, _ = run(tmp_path, "ad_kd", steps=2, settings={"method_weight": 0.0})
    assert values(without, "share/ad_kd") == [0.0]


def test_evaluations_come_before_during_and_after(tmp_path: Path) -> None:
    _, events, _ = run(tmp_path, "kd", steps=8)
    steps = [event.step for event in events if isinstance(event, Measured) and "validation/accuracy" in event.values]
    assert steps == [0, 3, 6, 8]
    assert [event.name for event in events if isinstance(event, Phase)] == ["evaluating", "training"]


def test_the_teacher_runs_once_per_example_over_several_runs(tmp_path: Path) -> None:
    train = training_set(copies=2)
    _, _, first = run(tmp_path, "ad_kd", steps=9, train=train)
    assert 0 < first.calls <= 3  # one epoch is three batches of four
    _, _, second = run(tmp_path, "ad_kd", steps=9, train=train)
    assert second.calls == 0


@pytest.mark.parametrize("key", ["kd", "ad_kd", "gkd"])
def test_stored_outputs_of_other_runs_change_no_bit(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, _ = run(tmp_path, key)
    monkeypatch.setenv("DISTILL_HOME", str(tmp_path / "another home"))
    for rows in ([3, 0], [5, 1, 2]):  # in other company
        train = training_set()
        part = TrainingSet([train.rows[row] for row in rows], train.labels[rows], train.pad_id, train.mask_id)
        run(tmp_path, key, steps=1, train=part)
    again, _, cache = run(tmp_path, key)
    assert cache.calls == 1
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_damaged_teacher_file_is_dropped_and_computed_again(tmp_path: Path, own_home: Path) -> None:
    train = training_set(copies=2)
    run(tmp_path, "ad_kd", steps=3, train=train)
    (stored,) = (own_home / "teacher").glob("*/*.safetensors")
    stored.write_bytes(b"not safetensors")
    _, _, again = run(tmp_path, "ad_kd", steps=3, train=train)
    assert again.calls > 0


def test_stored_teacher_outputs_equal_fresh_ones(tmp_path: Path) -> None:
    fresh, _, _ = run(tmp_path, "ad_kd", steps=6)
    stored, _, cache = run(tmp_path, "ad_kd", steps=6)
    assert cache.calls == 0
    assert all(torch.equal(fresh[name], stored[name]) for name in fresh)


def test_a_term_that_is_not_finite_ends_the_run_naming_it(tmp_path: Path) -> None:
    train, method = training_set(), make_loss(RunConfig(), 3, 6).objective
    teacher = tiny_model(tmp_path / "teacher", layers=2, seed=3)
    cache = TeacherCache(teacher, method, train.rows, train.labels)
    for row in range(len(train.rows)):
        maps = torch.full((len(train.rows[row].ids), 1), float("nan"))
        cache._outputs[cache._digests[row]] = {"logits": torch.zeros(2), "maps": maps}
    student = make_trainable(keep_layers(teacher.network, 1))
    events = _events(student, train, cache, RunConfig(), 3, 1e-3)
    with pytest.raises(RunError, match=r"Step 1: the ad_kd term is not finite"):
        list(events)


def test_closing_the_iterator_ends_training_with_the_student_in_eval_mode(tmp_path: Path) -> None:
    teacher = tiny_model(tmp_path / "teacher", layers=2, seed=3)
    student = make_trainable(keep_layers(teacher.network, 1))
    events = _events(student, training_set(), None, RunConfig(), 100, 1e-3)
    for event in events:
        if isinstance(event, Measured) and event.step == 2:
            break
    events.close()
    assert not student.training


@pytest.mark.parametrize("key", DISTILLATION_METHODS)
def test_a_batch_in_parts_trains_like_a_whole_one(tmp_path: Path, key: str) -> None:
    whole, known, _ = run(tmp_path, key)
    parted, events, _ = run(tmp_path, key, settings={"micro_batch": 3})  # of 4: two parts, not equally large
    for name in ("loss", "gradient_norm", *(term.name for term in DISTILLATION_METHODS[key].terms)):
        assert values(events, name) == pytest.approx(values(known, name), rel=2e-3), name
    for name, weights in whole.items():
        if name.endswith("key.bias"):
            continue  # its gradient is 0 but for rounding, of which Adam makes steps
        torch.testing.assert_close(parted[name], weights, rtol=1e-3, atol=2e-4, msg=name)


def test_a_batch_too_large_for_memory_is_halved(tmp_path: Path) -> None:
    given = {"dropout": 0.3, "settings": {"dropout": "on"}}
    after, events, _ = run(tmp_path, "ad_kd", memory=2, **given)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert notes == ["Step 1: 4 examples at once do not fit in memory; from now on 2 are computed."]
    given["settings"] = {"dropout": "on", "micro_batch": 2}
    wanted, _, _ = run(tmp_path, "ad_kd", **given)
    assert all(torch.equal(after[name], wanted[name]) for name in wanted)  # what failed has left no trace


def test_one_example_too_large_for_memory_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="too little memory for a single example"):
        run(tmp_path, "kd", memory=0)


def test_bfloat16_learns_and_keeps_weights_and_losses_in_float32(tmp_path: Path) -> None:
    for key in DISTILLATION_METHODS:
        exact, known, _ = run(tmp_path, key)
        rounded, events, _ = run(tmp_path, key, settings={"precision": "bfloat16"})
        assert all(weights.dtype == torch.float32 for weights in rounded.values())
        assert any(not torch.equal(rounded[name], exact[name]) for name in exact)
        for name in ("ce", "kd", *(term.name for term in DISTILLATION_METHODS[key].terms)):
            assert values(events, name)[0] == pytest.approx(values(known, name)[0], rel=0.05, abs=1e-3), (key, name)


def test_a_run_of_one_step_trains(tmp_path: Path) -> None:
    after, events, _ = run(tmp_path, "kd", steps=1)
    before = make_trainable(keep_layers(tiny_model(tmp_path / "teacher", layers=2, seed=3).network, 1))
    assert values(events, "learning_rate") == [1e-3]
    assert any(not torch.equal(after[name], weights) for name, weights in before.named_parameters())


def test_resource_usage_and_remaining_time_are_reported(tmp_path: Path) -> None:
    _, events, _ = run(tmp_path, "kd", steps=8)
    first = next(event.values for event in events if isinstance(event, Measured) and event.step == 1)
    assert first["cpu_percent"] >= 0
    assert first["memory_free_mb"] > 0
    assert 0 <= first["seconds_left_low"] < first["seconds_left"] < first["seconds_left_high"]


def test_the_forecast_includes_every_remaining_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations after steps 3, 6 and 8 of 8; each look at the time left says how many of them it counts."""
    counted = []

    def forecast(_: EtaEstimator, steps: int, evaluations: int) -> Forecast:
        counted.append((steps, evaluations))
        return Forecast(1.0, 1.0, 1.0)

    monkeypatch.setattr(EtaEstimator, "forecast", forecast)
    monkeypatch.setattr("distill_core.training.resource_usage.EVERY_SECONDS", 0.0)
    student = make_trainable(tiny_network(seed=1))
    list(_events(student, training_set(), None, RunConfig(), 8, 1e-3))
    assert counted == [(7, 3), (6, 3), (5, 3), (4, 2), (3, 2), (2, 2), (1, 1), (0, 1)]


def test_the_time_limit_bounds_the_remaining_time() -> None:
    student, minute = make_trainable(tiny_network(seed=1)), 60.0
    training = Training(
        student=student, train=training_set(), teacher=None, loss=None, steps=1_000_000, batch_size=4,
        learning_rate=1e-3, seed=5, evaluate=lambda: {"validation/accuracy": 0.5}, evaluate_every=500_000,
        stopping=Stopping("", seconds=minute),
    )  # fmt: skip
    left = next(e.values for e in training.events() if isinstance(e, Measured) and "seconds_left" in e.values)
    assert 0 < left["seconds_left_low"] <= left["seconds_left"] <= left["seconds_left_high"] <= minute + 10
