"""The teacher layers that the layers of a student are compared with, and the number of relation heads."""

from collections.abc import Sequence
from math import gcd

from distill_core.errors import ConfigError

Pairs = tuple[tuple[int, int], ...]  # (student layer, teacher layer), counted from 1

RELATION_HEADS = 12  # at most, if the number is not set (ours; MiniLMv2 uses 48 for base models)
DEEP = 12  # teachers of up to this many layers use their last layer


def layer_pairs(student_layers: int, teacher_layers: int, strategy: str) -> Pairs:
    """Return the teacher layer for each inner layer of the student; the last layer of either is never matched.

    `skip`: evenly spaced, for 6 of 12 layers 2, 4 … 10 (other depths: half a layer is rounded up, ours). `last`: the
    teacher's last inner layers, 7 … 11 of 12. ConfigError if there are no such layers.
    """
    inner = range(1, student_layers)
    if strategy == "last":
        pairs = tuple((layer, teacher_layers - student_layers + layer) for layer in inner)
    else:
        evenly = ((2 * layer * teacher_layers + student_layers) // (2 * student_layers) for layer in inner)
        pairs = tuple((layer, min(max(1, even), teacher_layers - 1)) for layer, even in zip(inner, evenly, strict=True))
    if not pairs or min(matched for _, matched in pairs) < 1:
        raise ConfigError(
            f"A student of {student_layers} layers has none that PKD-{strategy} can match with a teacher of "
            f"{teacher_layers}: wanted at least two layers each, and for PKD-last at most as many as the teacher has."
        )
    return pairs


def relation_heads(widths: Sequence[int], heads: int | None) -> int:
    """Return the number of relation heads for models of these widths; ConfigError if it does not divide one of them.

    None: the largest number up to RELATION_HEADS that divides all widths.
    """
    if heads is None:
        common = gcd(*widths)
        return next(count for count in range(RELATION_HEADS, 0, -1) if common % count == 0)
    for width in widths:
        if width % heads:
            raise ConfigError(
                f"Relation heads (relation_heads) is {heads}; a width of {width} cannot be split into so many: "
                f"use a divisor of {width}, or leave it empty."
            )
    return heads


def relation_layer(layers: int, layer: int | None) -> int:
    """Return the teacher layer whose relations are matched, counted from 1; ConfigError if it does not exist.

    None: the last of up to 12 layers, and of more the layer at 7/8 of the depth, rounded. MiniLMv2 uses layer 12 of 12
    for base teachers and 21 of 24 for BERT-large; other depths are ours.
    """
    if layer is None:
        return layers if layers <= DEEP else round(layers * 7 / 8)
    if layer > layers:
        raise ConfigError(
            f"Teacher’s relation layer (relation_layer) is {layer}; the teacher has {layers} layers: use 1 to "
            f"{layers}, or leave it empty."
        )
    return layer
