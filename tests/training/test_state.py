"""A training that is interrupted and resumed in another process ends with the weights of an uninterrupted one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.errors import RunError
from distill_core.models.encoder import make_trainable
from distill_core.models.layers import keep_layers
from distill_core.objectives import make_loss
from distill_core.paths import STATE_FILE
from distill_core.runs.events import Event, Measured, Note
from distill_core.training.state import TrainingState
from distill_core.training.teacher_cache import TeacherCache
from distill_core.training.trainer import Training
from tests.support.small_run import MACHINE_METRICS
from tests.support.tiny import tiny_model
from tests.support.training_sets import training_set

STEPS, EVERY = 9, 4


class Process:
    """A student and its training, made anew as a process would."""

    def __init__(self, folder: Path, key: str = "kd", memory: int = 1000, **settings: object) -> None:
        teacher = tiny_model(folder / "teacher", layers=2, seed=3)
        layers = 2 if "matching" in DISTILLATION_METHODS[key].settings else 1
        config = RunConfig.from_values({"method": key, "student_layers": layers, "dropout": "on", **settings})
        self.student = make_trainable(keep_layers(teacher.network, layers))
        for module in self.student.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.3
        self.student.classifier.register_forward_pre_hook(lambda _, given: _fail(len(given[0]) > memory))
        train, loss = training_set(), make_loss(config, layers, 2)
        cache = TeacherCache(teacher, loss.objective, train.rows, train.labels)
        self.training = Training(
            student=self.student, train=train, teacher=cache, loss=loss, steps=STEPS, batch_size=4,
            learning_rate=1e-2, seed=5, evaluate=lambda: {"validation/accuracy": 0.5}, evaluate_every=EVERY,
        )  # fmt: skip

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.student.state_dict().items()}


def _fail(too_many: bool) -> None:
    if too_many:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def numbers(events: list[Event]) -> list[tuple[int, dict[str, float]]]:
    measured = [event for event in events if isinstance(event, Measured)]
    return [(event.step, {k: v for k, v in event.values.items() if k not in MACHINE_METRICS}) for event in measured]


def interrupted(folder: Path, key: str, after: int, **settings: object) -> tuple[Mapping[str, Tensor], list[Event]]:
    """Train until `after` measurements were told, write everything to disk, go on elsewhere."""
    first = Process(folder, key, **settings)
    told, going = [], first.training.events()
    while sum(isinstance(event, Measured) for event in told) < after:
        told.append(next(going))
    first.training.state().write(folder)
    weights = first.weights()
    going.close()
    torch.manual_seed(77)  # what another process begins with
    second = Process(folder, key, **settings)
    second.student.load_state_dict(weights)
    second.training.resume(TrainingState.read(folder))
    told += list(second.training.events())
    return second.weights(), told


@pytest.mark.parametrize("key", DISTILLATION_METHODS)
@pytest.mark.parametrize("after", [2, 5, 6, 8])  # a step, just before an evaluation, at it, in the second epoch
def test_every_method_resumes_exactly(tmp_path: Path, key: str, after: int) -> None:
    whole = Process(tmp_path, key)
    events = list(whole.training.events())
    weights, told = interrupted(tmp_path, key, after)
    assert numbers(told) == numbers(events)
    assert weights.keys() == whole.weights().keys()
    assert all(torch.equal(weights[name], value) for name, value in whole.weights().items())


def test_a_halved_micro_batch_stays_halved_after_resuming(tmp_path: Path) -> None:
    whole = Process(tmp_path, "gkd", memory=2)
    events = list(whole.training.events())
    weights, told = interrupted(tmp_path, "gkd", 3, memory=2)
    assert [event for event in told if isinstance(event, Note)] == [
        event for event in events if isinstance(event, Note)
    ]
    assert all(torch.equal(weights[name], value) for name, value in whole.weights().items())


def test_resuming_a_finished_training_takes_no_step(tmp_path: Path) -> None:
    whole = Process(tmp_path)
    list(whole.training.events())
    again = Process(tmp_path)
    again.training.resume(whole.training.state())
    assert numbers(list(again.training.events())) == []


def test_a_state_of_another_training_is_refused(tmp_path: Path) -> None:
    first = Process(tmp_path)
    going = first.training.events()
    while not isinstance(event := next(going), Measured) or event.step < 2:
        pass
    state = first.training.state()
    update = dict(state.numbers["update"])
    wrong = [
        replace(state, step=0),
        replace(state, step=STEPS + 1),
        replace(state, tensors={name: value for name, value in state.tensors.items() if name != "random/cpu"}),
        replace(state, tensors={name: value.flatten()[:1] for name, value in state.tensors.items()}),
        replace(state, tensors=state.tensors | {"moment/999/exp_avg": torch.zeros(2)}),
        replace(state, numbers={**state.numbers, "update": {**update, "size": "many"}}),
        replace(state, numbers={}),
    ]
    for each in wrong:
        with pytest.raises(RunError, match="does not fit the settings of this run"):
            Process(tmp_path).training.resume(each)


def test_an_unreadable_state_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be resumed"):
        TrainingState.read(tmp_path)
    for content in (b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "):
        (tmp_path / STATE_FILE).write_bytes(content)
        with pytest.raises(RunError, match="cannot be resumed"):
            TrainingState.read(tmp_path)
    for told in (
        {"format": "0", "state": "{}"},
        {"format": "1", "state": "[]"},
        {"format": "1", "state": '{"step": "x"}'},
        {"format": "1", "state": '{"step": 1e999}'},
    ):
        save_file({"a": torch.zeros(1)}, tmp_path / STATE_FILE, told)
        with pytest.raises(RunError, match="Start a new run with the same settings"):
            TrainingState.read(tmp_path)
