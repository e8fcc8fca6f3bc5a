"""Which layers of a teacher the layers of a student are compared with, and in how many heads."""

from collections.abc import Sequence
from math import gcd

from distill_core.errors import ConfigError

Pairs = tuple[tuple[int, int], ...]  # a student's layer and the teacher's layer it follows, counted from 1

RELATION_HEADS = 12  # at most, where the number of relation heads is not set (ours; MiniLMv2 has 48 for base models)
DEEP = 12  # layers up to which relations are taken from the teacher's last layer


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


def relation_heads(widths: Sequence[int], heads: int | None) -> int:
    """Return the number of relation heads of models of these widths; ConfigError where a width is no multiple of it.

    None: the most heads, up to RELATION_HEADS, that divide every width.
    """
    if heads is None:
        common = gcd(*widths)
        return next(count for count in range(RELATION_HEADS, 0, -1) if common % count == 0)
    for width in widths:
        if width % heads:
            raise ConfigError(
                f"Relation heads (relation_heads) is {heads}; a width of {width} cannot be split into so many: "
                f"wanted a divisor of {width}, or nothing."
            )
    return heads


def relation_layer(layers: int, layer: int | None) -> int:
    """Return the teacher's layer whose relations are matched, counted from 1; ConfigError where there is none.

    None: the last of up to 12 layers, and of more the one at 7/8 of the depth, which is 21 of 24, as MiniLMv2 chose for
    base and large teachers (other depths, rounded: ours).
    """
    if layer is None:
        return layers if layers <= DEEP else round(layers * 7 / 8)
    if layer > layers:
        raise ConfigError(
            f"Teacher’s relation layer (relation_layer) is {layer}; the teacher has {layers} layers: wanted 1 to "
            f"{layers}, or nothing."
        )
    return layer
