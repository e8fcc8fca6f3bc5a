"""The distillation methods: one file each; what a run sets for them makes its loss."""

from distill_core.config.layer_mapping import Pairs, layer_pairs
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import RunConfig
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.base import ForwardPass, Objective, TeacherTargets, forward_pass
from distill_core.objectives.egkd_feature_selection import EgkdFeatureSelection
from distill_core.objectives.egkd_gradient import EgkdGradient
from distill_core.objectives.egkd_perturbation import EgkdPerturbation
from distill_core.objectives.gkd import Gkd
from distill_core.objectives.gkd_cls import GkdCls
from distill_core.objectives.kd import SoftTargets
from distill_core.objectives.loss import Loss, Part, Terms
from distill_core.objectives.pkd import Pkd

__all__ = [
    "AdKd",
    "EgkdFeatureSelection",
    "EgkdGradient",
    "EgkdPerturbation",
    "ForwardPass",
    "Gkd",
    "GkdCls",
    "Loss",
    "Objective",
    "Part",
    "Pkd",
    "SoftTargets",
    "TeacherTargets",
    "Terms",
    "forward_pass",
    "make_loss",
    "make_objective",
]  # fmt: skip


def make_loss(config: RunConfig, student_layers: int, teacher_layers: int) -> Loss:
    """Return the loss of a run; ConfigError where a student and a teacher of so many layers do not fit the method."""
    return Loss(
        weights=config.weights,
        objective=make_objective(config, student_layers, teacher_layers),
        soft=SoftTargets(config.temperature, config.kd_form, config.temperature_schedule == "annealed"),
        delay=config.method_delay,
        ramp=config.method_ramp,
        every=config.method_every,
        seed=config.seed,
    )


def make_objective(config: RunConfig, student_layers: int, teacher_layers: int) -> Objective | None:
    """Return what a run's method adds to plain KD, None for plain KD itself; ConfigError as `make_loss`."""
    pairs: Pairs = ()
    if "matching" in DISTILLATION_METHODS[config.method].settings:
        pairs = layer_pairs(student_layers, teacher_layers, config.matching)
    built: dict[str, Objective | None] = {
        "kd": None,
        "ad_kd": AdKd(config.top_k, config.attribution_steps, config.map_norm, config.map_distance),
        "gkd": Gkd(),
        "gkd_cls": GkdCls(pairs),
        "pkd": Pkd(pairs),
        "egkd_gradient": EgkdGradient(),
        "egkd_perturbation": EgkdPerturbation(config.erasures, min(config.erasures_each_step, config.erasures)),
        "egkd_feature_selection": EgkdFeatureSelection(config.rationale_share),
    }
    return built[config.method]
