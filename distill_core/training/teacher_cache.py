"""The teacher's logits and batch_targets for a training set: each example computed once, kept over epochs and runs.

A batch whose examples are all known costs no teacher call. How a number is rounded depends on the shape of the batch it
is computed in. On the CPU, where a run's weights are to be the same whichever runs came before, an example is therefore
computed in a batch whose shape depends on its length alone.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from distill_core.errors import RunError, StoreError
from distill_core.models.encoder import LoadedModel, embed
from distill_core.models.micro_batches import map_in_parts
from distill_core.models.tokenization import Encoded, Inputs, collate
from distill_core.objectives import ForwardPass, Objective, TeacherTargets, forward_pass
from distill_core.objectives.base import NOTHING
from distill_core.training.teacher_store import TeacherStore

BATCH = 64  # examples of which the teacher's logits alone are computed at once
GROUP, WIDTH = 8, 16  # on the CPU: examples in a batch, and what its tokens are a multiple of
_LOGITS = "logits"  # beside the parts of the method's targets


class TeacherCache:
    """The teacher's side of distillation for one set of examples; `calls` counts its forward passes.

    `batched`: whether a batch is computed as it comes on the CPU too, for numbers that nothing is trained on.
    """

    def __init__(
        self,
        teacher: LoadedModel,
        objective: Objective | None,
        rows: Sequence[Encoded],
        labels: Shaped[Tensor, " example"],
        *,
        batched: bool = False,
    ) -> None:
        self._teacher, self._rows, self._labels = teacher, rows, labels
        self._grouped = teacher.device.type == "cpu" and not batched
        self._objective = objective
        self._token_axes = objective.token_axes if objective is not None else {}
        kind = " batched" * batched
        method_key = None if objective is None else objective.cache_key
        self._store = TeacherStore(f"{teacher.fingerprint} {method_key}{kind}", self._token_axes)
        self._lengths = [len(row.ids) for row in rows]
        self._digests = [example_digest(row, label) for row, label in zip(rows, labels.tolist(), strict=True)]
        wanted, names = set(self._digests), {_LOGITS, *self._token_axes}
        self._numbers = {
            digest: found for digest, found in self._store.read().items() if digest in wanted and names <= found.keys()
        }
        self._unsaved: list[bytes] = []
        self.calls = 0

    @property
    def known(self) -> int:
        """Number of examples whose teacher numbers are at hand."""
        return sum(digest in self._numbers for digest in self._digests)

    def batch(
        self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch class"], TeacherTargets]:
        """Return the teacher's logits and the method's targets for the examples `rows`, padded as `inputs` is."""
        missing = [row for row in rows if self._digests[row] not in self._numbers]
        if missing and self._grouped:
            for group, width in self._groups(missing):
                alike = collate([self._rows[row] for row in group], self._teacher.pad_id, width)
                self._compute(group, alike, self._labels[group])
        elif missing:
            self._compute(rows, inputs, labels)
        numbers = [self._numbers[self._digests[row]] for row in rows]
        found = {}
        for name in numbers[0]:
            parts = [one[name] for one in numbers]
            whole = _padded(parts, inputs.input_ids.shape[1], self._token_axes.get(name, ()))
            found[name] = whole.to(inputs.input_ids.device)
        return found.pop(_LOGITS), found

    def save(self) -> None:
        """Keep on disk what is new; a full disk costs the file, never the run."""
        if not self._unsaved:
            return
        try:
            # As they lie on disk, in place of those in memory.
            self._numbers |= self._store.add({digest: self._numbers[digest] for digest in self._unsaved})
        except StoreError as error:
            logging.getLogger(__name__).warning("%s", error)
        self._unsaved = []

    def _groups(self, rows: Sequence[int]) -> Iterator[tuple[list[int], int]]:
        """Yield the rows in groups of GROUP, the last filled up with its first, and how many tokens wide they are."""
        by_width: dict[int, dict[bytes, int]] = {}
        for row in rows:
            width = min(-(-self._lengths[row] // WIDTH) * WIDTH, self._teacher.max_length)
            by_width.setdefault(max(width, self._lengths[row]), {})[self._digests[row]] = row
        for width, found in by_width.items():
            alike = list(found.values())
            for start in range(0, len(alike), GROUP):
                group = alike[start : start + GROUP]
                yield group + group[:1] * (GROUP - len(group)), width

    def _compute(self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]) -> None:
        self.calls += 1
        needs = self._objective.needs if self._objective is not None else NOTHING
        forward = teacher_pass(self._teacher, inputs, labels, needs_graph=self._objective is not None, needs=needs)
        found = {
            _LOGITS: forward.logits.detach(),
            **(self._objective.targets(forward) if self._objective is not None else {}),
        }
        numbers = {name: values.float().cpu() for name, values in found.items()}
        if not all(values.isfinite().all() for values in numbers.values()):
            raise RunError(
                f"What the teacher {self._teacher.id} says of the training examples is not finite: its weights hold "
                "nan or infinity, or overflow. Choose another teacher."
            )
        for index, row in enumerate(rows):
            if self._digests[row] in self._numbers:
                continue  # what was computed first stays: in another batch it is rounded otherwise
            self._unsaved.append(self._digests[row])
            self._numbers[self._digests[row]] = {
                name: _unpadded(values[index], self._lengths[row], self._token_axes.get(name, ()))
                for name, values in numbers.items()
            }


def teacher_logits(
    teacher: LoadedModel, rows: Sequence[Encoded], labels: Shaped[Tensor, " example"]
) -> Float[Tensor, "example class"]:
    """Return the teacher's logits of all rows in their order, on the CPU; what is kept on disk is not computed."""
    cache = TeacherCache(teacher, None, rows, labels, batched=True)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
    found: dict[int, Tensor] = {}

    def compute(chosen: Sequence[int]) -> Tensor:
        inputs = collate([rows[row] for row in chosen], teacher.pad_id).to(teacher.device)
        return cache.batch(chosen, inputs, labels[list(chosen)])[0].cpu()

    for chosen, part in map_in_parts(order, BATCH, compute, teacher.device):
        found |= dict(zip(chosen, part, strict=True))
    cache.save()
    return torch.stack([found[row] for row in range(len(rows))])


def teacher_pass(
    teacher: LoadedModel,
    inputs: Inputs,
    labels: Shaped[Tensor, " batch"],
    *,
    needs_graph: bool,
    needs: frozenset[str] = NOTHING,
) -> ForwardPass:
    """Run the teacher on a batch; with `needs_graph`, E and logits can be differentiated (weights never).

    `needs`: what the pass keeps for the objective.
    """
    with torch.set_grad_enabled(needs_graph):
        embeddings = embed(teacher.network, inputs).detach().requires_grad_(needs_graph)
        return forward_pass(teacher.network, embeddings, inputs, labels, teacher.mask_id, needs=needs)


def _unpadded(values: Tensor, length: int, axes: tuple[int, ...]) -> Tensor:
    """Return one example's values with its token axes cut to the length of its text, in memory of their own."""
    for axis in axes:
        values = values.narrow(axis, 0, length)
    return values.clone(memory_format=torch.contiguous_format)


def _padded(parts: Sequence[Tensor], tokens: int, axes: tuple[int, ...]) -> Tensor:
    """Stack the values of examples, with zeros up to so many tokens along each token axis."""
    if not axes:
        return torch.stack(list(parts))
    shape = [tokens if axis in axes else size for axis, size in enumerate(parts[0].shape)]
    whole = parts[0].new_zeros(len(parts), *shape)
    for row, part in zip(whole, parts, strict=True):
        row[tuple(slice(size) for size in part.shape)] = part
    return whole


def example_digest(row: Encoded, label: float) -> bytes:
    """Return what tells an example from others: its tokens as the network is given them, and its gold label."""
    return hashlib.sha256(f"{row.ids}{row.types}{label}".encode()).digest()
