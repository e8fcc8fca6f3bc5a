"""Which layer of its teacher each layer of a student follows."""

from distill_core.errors import ConfigError

Pairs = tuple[tuple[int, int], ...]  # a student's layer and the teacher's it follows, counted from 1


def layer_pairs(student_layers: int, teacher_layers: int, strategy: str) -> Pairs:
    """Return which inner layer of the teacher each inner layer of the student follows; neither last layer takes part.

    `skip`: evenly spaced, which for 6 of 12 layers are 2, 4 … 10 (other depths, half a layer rounded up: ours).
    `last`: the teacher's last ones, 7 … 11 of 12. ConfigError where there are no such layers.
    """
    inner = range(1, student_layers)
    if strategy == "last":
        pairs = tuple((own, teacher_layers - student_layers + own) for own in inner)
    else:
        evenly = ((2 * own * teacher_layers + student_layers) // (2 * student_layers) for own in inner)
        pairs = tuple((own, min(max(1, wanted), teacher_layers - 1)) for own, wanted in zip(inner, evenly, strict=True))
    if not pairs or min(wanted for _, wanted in pairs) < 1:
        raise ConfigError(
            f"A student of {student_layers} layers has none that PKD-{strategy} can match with a teacher of "
            f"{teacher_layers}: wanted two layers or more each, and for PKD-last no more than the teacher's."
        )
    return pairs
