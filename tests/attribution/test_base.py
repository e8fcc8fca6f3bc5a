"""Dealing work into passes of bounded size."""

import pytest
import torch

from distill_core.attribution import base
from distill_core.attribution.base import build_request
from distill_core.attribution.gradient import Gradient
from distill_core.errors import AttributionError
from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import Inputs
from tests.support.tiny import random_inputs


def test_passes_cover_every_item_once_within_the_budget(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "TOKENS_PER_PASS", 40)
    lengths = (4, 30, 9, 9, 50, 6, 5)
    request = build_request(Gradient(), model, random_inputs(lengths), torch.zeros(7, 1, dtype=torch.long))
    rows = torch.arange(7).repeat_interleave(5)
    parts = list(request.passes(rows))
    assert sorted(torch.cat(parts).tolist()) == list(range(35))
    for part in parts:
        longest = max(lengths[int(row)] for row in rows[part])
        assert len(part) == 1 or len(part) * longest <= 40
    assert len(parts) < 35


def test_padding_on_the_left_is_refused(model: LoadedModel) -> None:
    right = random_inputs((6, 4))
    left = Inputs(*(part.flip(1) for part in (right.input_ids, right.attention_mask)), None, right.special.flip(1))
    with pytest.raises(AttributionError, match="pad on the right only"):
        build_request(Gradient(), model, left, torch.zeros(2, 1, dtype=torch.long))
