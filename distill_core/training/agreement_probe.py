"""Agreement of a student's attribution maps with its teacher's during training, on a fixed set of probe sentences.

Maps are gradient × input at the logit of the teacher's predicted class. One backward pass per sentence is cheap enough
to repeat at each evaluation; the costlier methods are on the Explain page.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from distill_core.attribution import reduce
from distill_core.attribution.gradient import gradient_at_embeddings
from distill_core.errors import StoreError
from distill_core.metrics import agreement
from distill_core.models.encoder import LoadedModel, logits, output_count
from distill_core.models.micro_batches import map_in_parts
from distill_core.models.tokenization import Encoded, collate
from distill_core.runs.metric_names import AGREEMENT
from distill_core.training.teacher_cache import example_digest
from distill_core.training.teacher_store import TeacherStore

BATCH = 32


@dataclass(frozen=True)
class _Map:
    """The unsigned and the signed map of one row (token), float32 on the CPU, and the predicted class."""

    unsigned: Float[Tensor, " token"]
    signed: Float[Tensor, " token"]
    predicted: int


class Probe:
    """The teacher's maps and predictions on the probe rows. `calls`: how often they were computed in this process."""

    def __init__(self, teacher: LoadedModel, rows: Sequence[Encoded]) -> None:
        """Read the teacher's maps from disk if an earlier run stored them, else compute them."""
        ordered = sorted(rows, key=lambda row: len(row.ids))
        self._rows, self._pad_id, self.calls = ordered, teacher.pad_id, 0
        self._teacher = self._read(teacher) or self._compute(teacher)

    def _read(self, teacher: LoadedModel) -> list[_Map] | None:
        """Return the stored maps of all rows, None if any is missing."""
        stored = _store(teacher).read()
        digests = [example_digest(row, 0.0) for row in self._rows]
        if not all(
            digest in stored and {"unsigned", "signed", "predicted"} <= stored[digest].keys() for digest in digests
        ):
            return None
        maps = [stored[digest] for digest in digests]
        return [_Map(one["unsigned"], one["signed"], int(one["predicted"])) for one in maps]

    def _compute(self, teacher: LoadedModel) -> list[_Map]:
        """Compute the maps of all rows and store them if the disk has room."""
        maps = _maps(teacher.network, self._rows, self._pad_id, None)
        self.calls += 1
        numbers = {
            example_digest(row, 0.0): {
                "unsigned": one.unsigned, "signed": one.signed, "predicted": torch.tensor(float(one.predicted))
            }
            for row, one in zip(self._rows, maps, strict=True)
        }  # fmt: skip
        try:
            _store(teacher).add(numbers)
        except StoreError as error:  # the run does not need the file
            logging.getLogger(__name__).warning("%s", error)
        return maps

    def measure(self, student: PreTrainedModel) -> dict[str, float]:
        """Return the mean agreement over the probe rows as `agreement/NAME`; nan if it is undefined on every row.

        `cosine`, `spearman`: unsigned maps (L2 norm over the width). `signed_cosine`: signed maps (sum
        over the width). `label_loyalty`: the share of rows with the teacher's prediction; not for a regression.
        """
        was_training = student.training
        student.eval()
        try:
            targets = [one.predicted for one in self._teacher]
            own = _maps(student, self._rows, self._pad_id, targets)
        finally:
            student.train(was_training)
        compared = ("cosine", "spearman", "signed_cosine", *(["label_loyalty"] if output_count(student) > 1 else []))
        values: dict[str, list[float]] = {name: [] for name in compared}
        for row, theirs, ours in zip(self._rows, self._teacher, own, strict=True):
            keep = ~collate([row], self._pad_id).special[0]
            unsigned = theirs.unsigned[keep], ours.unsigned[keep]
            _add(values["cosine"], agreement.cosine(*unsigned))
            _add(values["spearman"], agreement.spearman(*unsigned))
            _add(values["signed_cosine"], agreement.cosine(theirs.signed[keep], ours.signed[keep]))
            if "label_loyalty" in values:
                values["label_loyalty"].append(float(theirs.predicted == ours.predicted))
        return {AGREEMENT + name: sum(row) / len(row) if row else float("nan") for name, row in values.items()}


def _store(teacher: LoadedModel) -> TeacherStore:
    return TeacherStore(f"{teacher.fingerprint} probe", {"unsigned": (0,), "signed": (0,)})


def _maps(network: PreTrainedModel, rows: Sequence[Encoded], pad_id: int, targets: Sequence[int] | None) -> list[_Map]:
    """Return the maps of each row for its target, the predicted class if `targets` is None.

    When memory runs out, the batches become smaller.
    """

    def compute(chosen: Sequence[int]) -> list[_Map]:
        """Return the maps of the chosen rows, computed as one batch."""
        inputs = collate([rows[row] for row in chosen], pad_id).to(network.device)
        with torch.no_grad():
            predicted = logits(network, inputs).argmax(dim=1)
        wanted = predicted if targets is None else torch.tensor([targets[row] for row in chosen]).to(predicted)
        result = gradient_at_embeddings(network, inputs, wanted)
        product = (result.gradient * result.embeddings).detach()  # (B, T, D)
        unsigned = reduce.l2_norm(product, inputs.mask).float().cpu()
        signed = reduce.signed_sum(product, inputs.mask).float().cpu()
        lengths = inputs.mask.sum(dim=1).tolist()
        return [
            _Map(unsigned[at, :length].clone(), signed[at, :length].clone(), int(predicted[at]))
            for at, length in enumerate(lengths)
        ]

    every = range(len(rows))
    return [one for _, part in map_in_parts(every, BATCH, compute, network.device) for one in part]


def _add(values: list[float], value: float | agreement.Undefined) -> None:
    """Append a value; leave an undefined one out of the mean."""
    if not isinstance(value, agreement.Undefined):
        values.append(value)
