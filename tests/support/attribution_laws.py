"""Laws of every attribution method, checked on any model: shapes, padding, batches, classes at once."""

import torch

from distill_core.attribution import ATTRIBUTION_METHODS, attribute, attribute_each
from distill_core.attribution.reduce import word_numbers
from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import Encoded, Inputs, collate


def target_of(rows: int) -> torch.Tensor:
    """Return a target class for each row."""
    return torch.arange(rows) % 3


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Check that two score tensors are equal within 1e-5."""
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def check_shape_and_padding(method: str, output: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs) -> None:
    """Check that scores have the tokens' shape, (B, T), and are zero on padding."""
    found = attribute(method, model, inputs, target_of(5), output=output, words=word_numbers(rows))
    assert found.scores.shape == inputs.input_ids.shape
    assert (found.scores[~inputs.mask] == 0).all()
    assert (found.scores[inputs.mask & ~inputs.special] != 0).any(dim=0).all()
    assert torch.equal(found.mask, inputs.mask)
    assert torch.equal(found.target, target_of(5))
    assert not found.scores.requires_grad
    assert ATTRIBUTION_METHODS[method].signed == bool((found.scores < 0).any())


def check_batch_equals_single(
    method: str, baseline: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs
) -> None:
    """Check that a batch gets the scores of its examples alone."""
    together = attribute(method, model, inputs, target_of(5), baseline=baseline, words=word_numbers(rows))
    for index, row in enumerate(rows):
        target = target_of(5)[index : index + 1]
        words = word_numbers([row])
        alone = attribute(method, model, collate([row], 0), target, baseline=baseline, words=words)
        close(together.scores[index, : len(row.ids)], alone.scores[0])
        if together.nodes is not None and alone.nodes is not None:
            assert together.nodes[index] == alone.nodes[0]


def check_all_classes_equal_each(
    method: str, output: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs
) -> None:
    """Check that scores of all classes at once equal those of each class."""
    words = word_numbers(rows)
    every = attribute_each(method, model, inputs, torch.arange(3).expand(5, 3), output=output, words=words)
    for index, found in enumerate(every):
        target = torch.full((5,), index)
        alone = attribute(method, model, inputs, target, output=output, words=words)
        close(found.scores, alone.scores)
        assert torch.equal(found.target, target)
