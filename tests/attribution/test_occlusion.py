"""Occlusion by token and by word: known answers, a plain loop, Captum, and shares that add up to the word."""

import pytest
import torch
from captum.attr import FeatureAblation

from distill_core.attribution import attribute
from distill_core.attribution.reduce import word_numbers
from distill_core.errors import AttributionError
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Encoded, Inputs, collate, encode
from tests.support.toy_models import FIRST, SECOND, squares, toy, toy_inputs

MASK_ID = 4


def test_squares_fall_by_each_tokens_squares() -> None:
    model = toy([1.0, 2.0], [3.0, -1.0], squares)
    found = attribute("occlusion", model, toy_inputs([FIRST, SECOND]), torch.tensor([0]))
    assert found.scores.tolist() == [[5.0, 10.0]]  # the toy's [MASK] is zero
    assert found.baseline == "mask"


def test_a_word_is_taken_out_whole_and_its_pieces_share_its_score() -> None:
    product = toy([2.0], [3.0], lambda x, _: torch.stack([x[:, 0, 0] * x[:, 1, 0]] * 2, dim=1))
    words = torch.tensor([[0, 0]])
    found = attribute("occlusion_word", product, toy_inputs([FIRST, SECOND]), torch.tensor([0]), words=words)
    assert found.scores.tolist() == [[3.0, 3.0]]  # 6 falls to 0 once


def test_it_equals_a_plain_loop_over_masked_texts(model: LoadedModel, rows: list[Encoded], inputs: Inputs) -> None:
    target = torch.arange(5) % 3
    found = attribute("occlusion", model, inputs, target).scores
    for index, row in enumerate(rows):
        alone = collate([row], 0)
        whole = logits(model.network, alone)[0, target[index]]
        for position in range(len(row.ids)):
            ids = alone.input_ids.clone()
            ids[0, position] = MASK_ID
            less = logits(model.network, Inputs(ids, alone.attention_mask, alone.token_type_ids, alone.special))
            expected = 0.0 if row.special[position] else (whole - less[0, target[index]]).item()
            assert found[index, position].item() == pytest.approx(expected, abs=1e-5)


def test_it_equals_captums_feature_ablation(model: LoadedModel, rows: list[Encoded], inputs: Inputs) -> None:
    target, words = torch.arange(5) % 3, word_numbers(rows)

    def forward(ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        return logits(model.network, Inputs(ids, mask, types, inputs.special))

    found = attribute("occlusion_word", model, inputs, target, words=words).scores
    for index, row in enumerate(rows):
        alone = collate([row], 0)
        numbers = word_numbers([row])
        theirs = FeatureAblation(forward).attribute(
            alone.input_ids,
            baselines=MASK_ID,
            target=int(target[index]),
            additional_forward_args=(alone.attention_mask, alone.token_type_ids),
            feature_mask=numbers - numbers.min(),  # all special tokens are one group, left out below
        )
        for word in range(int(numbers.max()) + 1):
            pieces = numbers[0] == word
            score = found[index, : len(row.ids)][pieces].sum().item()
            assert score == pytest.approx(theirs[0][pieces][0].item(), abs=1e-5)


def test_special_tokens_are_occluded_only_by_zero(model: LoadedModel, inputs: Inputs) -> None:
    special = inputs.special & inputs.mask
    for baseline in ("pad", "mask"):
        scores = attribute("occlusion", model, inputs, torch.zeros(5).long(), baseline=baseline).scores
        assert (scores[special] == 0).all()
    assert (attribute("occlusion", model, inputs, torch.zeros(5).long(), baseline="zero").scores[special] != 0).all()


def test_a_text_that_is_its_own_baseline_scores_zero(model: LoadedModel) -> None:
    inputs = collate([encode(model.tokenizer, "good film")], 0)
    inputs = Inputs(torch.tensor([[2, 4, 4, 3]]), inputs.attention_mask, None, inputs.special)  # [MASK] [MASK]
    for method in ("occlusion", "occlusion_word"):
        scores = attribute(method, model, inputs, torch.tensor([0]), words=torch.tensor([[-1, 0, 1, -1]])).scores
        assert scores.tolist() == [[0.0] * 4]


def test_by_word_without_words_is_refused(model: LoadedModel, inputs: Inputs) -> None:
    with pytest.raises(AttributionError, match="needs the number of each token"):
        attribute("occlusion_word", model, inputs, torch.zeros(5).long())
