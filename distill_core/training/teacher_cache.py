"""The teacher's logits and targets for a training set: computed once for each example, reused over epochs and runs.

A batch whose examples are all stored needs no forward pass of the teacher. Rounding depends on the shape of the batch
in which a number is computed. On the CPU the weights of a run must not depend on which runs came before it. There the
shape of the batch in which an example is computed therefore depends only on the example's length.
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

BATCH = 64  # examples in a batch when only the teacher's logits are computed
GROUP, WIDTH = 8, 16  # on the CPU: examples in a batch; its number of tokens is a multiple of WIDTH
_LOGITS = "logits"  # stored beside the method's targets; no target has this name


class TeacherCache:
    """The teacher's outputs for one set of examples; `calls` counts its forward passes.

    `batched`: on the CPU, too, compute batches as requested instead of in shapes that depend only on the lengths; for
    outputs that no training uses.
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
        self._outputs = {
            digest: outputs
            for digest, outputs in self._store.read().items()
            if digest in wanted and names <= outputs.keys()
        }
        self._unsaved: list[bytes] = []
        self.calls = 0

    @property
    def known(self) -> int:
        """Number of examples whose teacher outputs are stored."""
        return sum(digest in self._outputs for digest in self._digests)

    def batch(
        self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch class"], TeacherTargets]:
        """Return the teacher's logits and the method's targets for the examples `rows`, padded like `inputs`."""
        missing = [row for row in rows if self._digests[row] not in self._outputs]
        if missing and self._grouped:
            for group, width in self._groups(missing):
                group_inputs = collate([self._rows[row] for row in group], self._teacher.pad_id, width)
                self._compute(group, group_inputs, self._labels[group])
        elif missing:
            self._compute(rows, inputs, labels)
        examples = [self._outputs[self._digests[row]] for row in rows]
        targets = {}
        for name in examples[0]:
            parts = [outputs[name] for outputs in examples]
            padded = _padded(parts, inputs.input_ids.shape[1], self._token_axes.get(name, ()))
            targets[name] = padded.to(inputs.input_ids.device)
        return targets.pop(_LOGITS), targets

    def save(self) -> None:
        """Store new outputs on disk; if they cannot be stored, warn and let the run continue."""
        if not self._unsaved:
            return
        try:
            # The outputs mapped from the file replace those in memory.
            self._outputs |= self._store.add({digest: self._outputs[digest] for digest in self._unsaved})
        except StoreError as error:
            logging.getLogger(__name__).warning("%s", error)
        self._unsaved = []

    def _groups(self, rows: Sequence[int]) -> Iterator[tuple[list[int], int]]:
        """Yield the rows in groups of GROUP and the tokens a group is padded to.

        The last group is filled up with copies of its first row.
        """
        by_width: dict[int, dict[bytes, int]] = {}
        for row in rows:
            width = min(-(-self._lengths[row] // WIDTH) * WIDTH, self._teacher.max_length)
            by_width.setdefault(max(width, self._lengths[row]), {})[self._digests[row]] = row
        for width, by_digest in by_width.items():
            distinct = list(by_digest.values())
            for start in range(0, len(distinct), GROUP):
                group = distinct[start : start + GROUP]
                yield group + group[:1] * (GROUP - len(group)), width

    def _compute(self, rows: Sequence[int], inputs: Inputs, labels: Shaped[Tensor, " batch"]) -> None:
        self.calls += 1
        needs = self._objective.needs if self._objective is not None else NOTHING
        forward = teacher_pass(self._teacher, inputs, labels, needs_graph=self._objective is not None, needs=needs)
        computed = {
            _LOGITS: forward.logits.detach(),
            **(self._objective.targets(forward) if self._objective is not None else {}),
        }
        outputs = {name: values.float().cpu() for name, values in computed.items()}
        if not all(values.isfinite().all() for values in outputs.values()):
            raise RunError(
                f"The outputs of the teacher {self._teacher.id} on the training examples are not finite numbers: "
                "its weights hold nan or infinity, or overflow. Choose another teacher."
            )
        for index, row in enumerate(rows):
            if self._digests[row] in self._outputs:
                continue  # keep the first result: another batch may round differently
            self._unsaved.append(self._digests[row])
            self._outputs[self._digests[row]] = {
                name: _unpadded(values[index], self._lengths[row], self._token_axes.get(name, ()))
                for name, values in outputs.items()
            }


def teacher_logits(
    teacher: LoadedModel, rows: Sequence[Encoded], labels: Shaped[Tensor, " example"]
) -> Float[Tensor, "example class"]:
    """Return the teacher's logits of all rows in order, on the CPU; stored logits are not recomputed."""
    cache = TeacherCache(teacher, None, rows, labels, batched=True)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].ids))
    by_row: dict[int, Tensor] = {}

    def compute(chosen: Sequence[int]) -> Tensor:
        inputs = collate([rows[row] for row in chosen], teacher.pad_id).to(teacher.device)
        return cache.batch(chosen, inputs, labels[list(chosen)])[0].cpu()

    for chosen, part in map_in_parts(order, BATCH, compute, teacher.device):
        by_row |= dict(zip(chosen, part, strict=True))
    cache.save()
    return torch.stack([by_row[row] for row in range(len(rows))])


def teacher_pass(
    teacher: LoadedModel,
    inputs: Inputs,
    labels: Shaped[Tensor, " batch"],
    *,
    needs_graph: bool,
    needs: frozenset[str] = NOTHING,
) -> ForwardPass:
    """Run the teacher on a batch; with `needs_graph`, the logits can be differentiated by E, never by the weights.

    `needs`: what the pass keeps for the objective.
    """
    with torch.set_grad_enabled(needs_graph):
        embeddings = embed(teacher.network, inputs).detach().requires_grad_(needs_graph)
        return forward_pass(teacher.network, embeddings, inputs, labels, teacher.mask_id, needs=needs)


def _unpadded(values: Tensor, length: int, axes: tuple[int, ...]) -> Tensor:
    """Return a copy of one example's values with the padding of its token axes removed."""
    for axis in axes:
        values = values.narrow(axis, 0, length)
    return values.clone(memory_format=torch.contiguous_format)


def _padded(parts: Sequence[Tensor], tokens: int, axes: tuple[int, ...]) -> Tensor:
    """Stack the values of examples, padded with zeros to `tokens` along each token axis."""
    if not axes:
        return torch.stack(list(parts))
    shape = [tokens if axis in axes else size for axis, size in enumerate(parts[0].shape)]
    whole = parts[0].new_zeros(len(parts), *shape)
    for row, part in zip(whole, parts, strict=True):
        row[tuple(slice(size) for size in part.shape)] = part
    return whole


def example_digest(row: Encoded, label: float) -> bytes:
    """Return the SHA-256 of an example: its token ids, its segment ids and its gold label."""
    return hashlib.sha256(f"{row.ids}{row.types}{label}".encode()).digest()
