"""The distillation methods as objectives, one file each, and the loss of a run built from its settings.

Which methods there are is in `config.methods`, which names the class of each; it is imported when a run needs it.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, cast

from distill_core.config.layer_mapping import layer_pairs, relation_heads
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.objectives.base import ForwardPass, Objective, TeacherTargets, forward_pass
from distill_core.objectives.kd import SoftTargets
from distill_core.objectives.loss import Loss, Part, Terms

__all__ = [
    "ForwardPass",
    "Loss",
    "Objective",
    "Part",
    "SoftTargets",
    "TeacherTargets",
    "Terms",
    "forward_pass",
    "make_loss",
    "make_objective",
]


def make_loss(config: RunConfig, student_layers: int, teacher_layers: int, widths: Sequence[int] = ()) -> Loss:
    """Return the loss of a run; ConfigError where the method does not fit models of this depth and these `widths`.

    `widths`: of student and teacher; empty: both have the same.
    """
    return Loss(
        weights=config.weights,
        objective=make_objective(config, student_layers, teacher_layers, widths),
        soft=SoftTargets(config.temperature, config.kd_form, config.temperature_schedule == "annealed"),
        delay=config.method_delay,
        ramp=config.method_ramp,
        every=config.method_every,
        seed=config.seed,
    )


def make_objective(
    config: RunConfig, student_layers: int, teacher_layers: int, widths: Sequence[int] = ()
) -> Objective | None:
    """Return what a run's method adds to plain KD, None for plain KD itself; arguments and errors as of `make_loss`."""
    method = DISTILLATION_METHODS[config.method]
    if not method.objective:
        return None
    arguments: dict[str, Any] = {argument: getattr(config, setting) for argument, setting in method.arguments}
    if "matching" in method.settings:
        arguments["pairs"] = layer_pairs(student_layers, teacher_layers, config.matching)
    if "relation_heads" in method.settings and widths:
        arguments["heads"] = relation_heads(widths, config.relation_heads)
    module, _, name = method.objective.partition(":")
    return cast(Objective, getattr(import_module(module), name)(**arguments))
