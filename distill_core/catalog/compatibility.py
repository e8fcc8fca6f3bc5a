"""The checks of a run before it starts: whether its teacher, its student and its settings fit together."""

from distill_core.catalog.catalog import ModelInfo, find_model
from distill_core.config.layer_mapping import layer_pairs, relation_heads, relation_layer
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.errors import ConfigError, ModelError


def find_teacher(config: RunConfig) -> ModelInfo:
    """Check that a run's models and settings fit together, and return its teacher.

    ModelError if the teacher, or the model its student starts from, is unknown or does not fit; ConfigError for a
    setting that the teacher or another setting rules out.
    """
    teacher = find_model(config.teacher)
    if not config.made_from_teacher:
        _check_student(find_model(config.student_init), teacher, config)
    elif config.student_layers > teacher.layers > 0:  # 0: its config does not say
        raise ModelError(
            f"Layers (student_layers) is {config.student_layers}; "
            f"the teacher {teacher.id} has {teacher.layers} layers: use 1 to {teacher.layers}."
        )
    _check_ranges(teacher, config)
    if "matching" in DISTILLATION_METHODS[config.method].settings:
        layers = config.student_layers if config.made_from_teacher else find_model(config.student_init).layers
        if layers and teacher.layers:  # 0: a config does not say
            layer_pairs(layers, teacher.layers, config.matching)
    return teacher


def _check_ranges(teacher: ModelInfo, config: RunConfig) -> None:
    """Raise ConfigError for settings outside a range that depends on other settings."""
    used = DISTILLATION_METHODS[config.method].settings
    if "top_k" in used and (config.top_k or 0) > teacher.hidden_size > 0:
        raise ConfigError(
            f"{FIELDS['top_k'].label} (top_k) is {config.top_k}; the teacher {teacher.id} is {teacher.hidden_size} "
            f"wide: use 1 to {teacher.hidden_size}, or leave it empty for all."
        )
    if "relation_layer" in used and teacher.layers:  # 0: its config does not say
        relation_layer(teacher.layers, config.relation_layer)
    if "relation_heads" in used and teacher.hidden_size:
        student_width = 0 if config.made_from_teacher else find_model(config.student_init).hidden_size
        relation_heads([width for width in (teacher.hidden_size, student_width) if width], config.relation_heads)
    if "erasures_each_step" in used and config.erasures_each_step > config.erasures:
        raise ConfigError(
            f"{FIELDS['erasures_each_step'].label} (erasures_each_step) is {config.erasures_each_step}; "
            f"there are {config.erasures} (erasures): use 1 to {config.erasures}."
        )


def _check_student(student: ModelInfo, teacher: ModelInfo, config: RunConfig) -> None:
    """Raise ModelError for a student that does not fit the task or the method, as far as its config shows."""
    if student.task not in ("", config.task):
        raise ModelError(
            f"The student {student.id} was trained for task {student.task}, not for {config.task}; choose a model for "
            f"{config.task}, or initialise the student from its teacher."
        )
    method = DISTILLATION_METHODS[config.method]
    if method.same_width and 0 < student.hidden_size != teacher.hidden_size > 0:
        free = ", ".join(info.title for info in DISTILLATION_METHODS.values() if not info.same_width)
        raise ModelError(
            f"{method.title} compares vectors of the two models, and the student {student.id} is {student.hidden_size} "
            f"wide, its teacher {teacher.hidden_size}: choose a student of the same width, or one of: {free}."
        )
