"""How far a student in training agrees with its teacher's reasons, on a fixed set of probe sentences.

Maps are gradient × input at the logit of the teacher's predicted class: one backward pass a sentence, so
they can be taken during training. Integrated gradients on chosen sentences are the Explain page's part.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from distill_core import consistency
from distill_core.attribution import reduce
from distill_core.attribution.gradient import gradient_at_embeddings
from distill_core.encoding import Encoded, Inputs, collate
from distill_core.models import logits, output_count

BATCH = 32


class Probe:
    """The teacher's maps and predictions on the probe rows, computed once."""

    def __init__(self, teacher: PreTrainedModel, rows: Sequence[Encoded], pad_id: int) -> None:
        ordered = sorted(rows, key=lambda row: len(row.ids))
        self._batches = [collate(ordered[at : at + BATCH], pad_id) for at in range(0, len(ordered), BATCH)]
        self._teacher = [_maps(teacher, batch, None) for batch in self._batches]

    def measure(self, student: PreTrainedModel) -> dict[str, float]:
        """Return the mean agreement over the probe rows, `agreement/NAME` each; nan where none is defined.

        `cosine`, `spearman`: unsigned maps (L2 norm over the width). `signed_cosine`: signed maps (sum
        over the width). `label_loyalty`: share of rows with the teacher's prediction; not for a regression.
        """
        was_training = student.training
        student.eval()
        try:
            own = [
                _maps(student, batch, teacher[2]) for batch, teacher in zip(self._batches, self._teacher, strict=True)
            ]
        finally:
            student.train(was_training)
        compared = ("cosine", "spearman", "signed_cosine", *(["label_loyalty"] if output_count(student) > 1 else []))
        values: dict[str, list[float]] = {name: [] for name in compared}
        for batch, theirs, ours in zip(self._batches, self._teacher, own, strict=True):
            content = batch.mask & ~batch.special
            for row, keep in enumerate(content):
                unsigned = theirs[0][row][keep], ours[0][row][keep]
                signed = theirs[1][row][keep], ours[1][row][keep]
                _add(values["cosine"], consistency.cosine(*unsigned))
                _add(values["spearman"], consistency.spearman(*unsigned))
                _add(values["signed_cosine"], consistency.cosine(*signed))
                if "label_loyalty" in values:
                    values["label_loyalty"].append(float(theirs[2][row] == ours[3][row]))
        return {f"agreement/{name}": sum(row) / len(row) if row else float("nan") for name, row in values.items()}


def _maps(
    network: PreTrainedModel, batch: Inputs, target: Int[Tensor, " batch"] | None
) -> tuple[Float[Tensor, "batch token"], Float[Tensor, "batch token"], Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """Return unsigned map, signed map, the target class and the predicted class, all on the CPU."""
    inputs = batch.to(network.device)
    with torch.no_grad():
        predicted = logits(network, inputs).argmax(dim=1)
    wanted = predicted if target is None else target.to(network.device)
    found = gradient_at_embeddings(network, inputs, wanted)
    product = found.gradient * found.embeddings  # (B, T, D)
    unsigned, signed = reduce.l2_norm(product, inputs.mask), reduce.signed_sum(product, inputs.mask)
    return unsigned.detach().cpu(), signed.detach().cpu(), wanted.cpu(), predicted.cpu()


def _add(values: list[float], value: float | consistency.Undefined) -> None:
    """Keep a value, leave an undefined one out of the mean."""
    if not isinstance(value, consistency.Undefined):
        values.append(value)
