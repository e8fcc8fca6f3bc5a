"""How far a student in training agrees with its teacher's reasons, on a fixed set of probe sentences.

Maps are gradient × input at the logit of the teacher's predicted class: one backward pass a sentence, so
they can be taken during training. Integrated gradients on chosen sentences are the Explain page's part.
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
    """One row's unsigned and signed map (token), float32 on the CPU, and the class its network predicts."""

    unsigned: Float[Tensor, " token"]
    signed: Float[Tensor, " token"]
    predicted: int


class Probe:
    """The teacher's maps and predictions on the probe rows, computed once; `calls`: how often in this process."""

    def __init__(self, teacher: LoadedModel, rows: Sequence[Encoded]) -> None:
        """Take the teacher's maps, from the disk where they were kept by an earlier run."""
        ordered = sorted(rows, key=lambda row: len(row.ids))
        self._rows, self._pad_id, self.calls = ordered, teacher.pad_id, 0
        self._teacher = self._kept(teacher) or self._computed(teacher)

    def _kept(self, teacher: LoadedModel) -> list[_Map] | None:
        """Return the maps of all rows as they were kept, None where any is missing."""
        known = _store(teacher).read()
        digests = [example_digest(row, 0.0) for row in self._rows]
        if not all(
            digest in known and {"unsigned", "signed", "predicted"} <= known[digest].keys() for digest in digests
        ):
            return None
        found = [known[digest] for digest in digests]
        return [_Map(one["unsigned"], one["signed"], int(one["predicted"])) for one in found]

    def _computed(self, teacher: LoadedModel) -> list[_Map]:
        """Compute the maps of all rows, and keep them as far as the disk allows."""
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
        except StoreError as error:  # costs the file, never the run
            logging.getLogger(__name__).warning("%s", error)
        return maps

    def measure(self, student: PreTrainedModel) -> dict[str, float]:
        """Return the mean agreement over the probe rows, `agreement/NAME` each; nan where none is defined.

        `cosine`, `spearman`: unsigned maps (L2 norm over the width). `signed_cosine`: signed maps (sum
        over the width). `label_loyalty`: share of rows with the teacher's prediction; not for a regression.
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
    """Return each row's maps for its target, the predicted class for None; of fewer rows at once where memory ends."""

    def compute(chosen: Sequence[int]) -> list[_Map]:
        """Return the maps of some rows, computed as one batch."""
        inputs = collate([rows[row] for row in chosen], pad_id).to(network.device)
        with torch.no_grad():
            predicted = logits(network, inputs).argmax(dim=1)
        wanted = predicted if targets is None else torch.tensor([targets[row] for row in chosen]).to(predicted)
        found = gradient_at_embeddings(network, inputs, wanted)
        product = (found.gradient * found.embeddings).detach()  # (B, T, D)
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
    """Keep a value, leave an undefined one out of the mean."""
    if not isinstance(value, agreement.Undefined):
        values.append(value)
