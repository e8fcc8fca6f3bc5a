"""SHAP by word: known answers, Captum's exact Shapley values, completeness, seeds, sampling close to the exact."""

import pytest
import torch
from captum.attr import ShapleyValues

from distill_core.attribution import attribute, attribute_each
from distill_core.attribution.reduce import word_groups, word_numbers
from distill_core.attribution.shap import Shap
from distill_core.errors import AttributionError, ConfigError
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Encoded, Inputs, collate, encode
from tests.support.toy_models import FIRST, SECOND, squares, toy, toy_inputs

MASK_ID = 4
LONG = "the film is good but the acting was slowly boring and the music was bad"


def masked_logits(model: LoadedModel, rows: list[Encoded], target: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return F of each text as it is, and with every word replaced by [MASK]; (B,) each."""
    inputs = collate(rows, model.pad_id)
    erased = inputs.input_ids.masked_fill(~inputs.special & inputs.mask, MASK_ID)
    masked = Inputs(erased, inputs.attention_mask, inputs.token_type_ids, inputs.special)
    return logits(model.network, inputs)[:, target], logits(model.network, masked)[:, target]


def test_an_additive_function_gives_each_words_own_part() -> None:
    model = toy([1.0, 2.0], [3.0, -1.0], squares)
    words = torch.tensor([[0, 1]])
    found = attribute("shap", model, toy_inputs([FIRST, SECOND]), torch.tensor([0]), words=words)
    assert found.scores.tolist() == [[5.0, 10.0]]  # the toy's [MASK] is zero
    assert found.baseline == "mask"
    assert found.gap is not None
    assert found.gap.tolist() == [0.0]
    assert found.nodes is not None
    assert found.nodes.tolist() == [4]


def test_two_words_that_act_only_together_share_equally_and_so_do_a_words_pieces() -> None:
    product = toy([2.0], [3.0], lambda x, _: torch.stack([x[:, 0, 0] * x[:, 1, 0]] * 2, dim=1))
    inputs, target = toy_inputs([FIRST, SECOND]), torch.tensor([0])
    apart = attribute("shap", product, inputs, target, words=torch.tensor([[0, 1]]))
    assert apart.scores.tolist() == [[3.0, 3.0]]  # occlusion gives 6 to both
    together = attribute("shap", product, inputs, target, words=torch.tensor([[0, 0]]))
    assert together.scores.tolist() == [[3.0, 3.0]]


def test_it_equals_captums_shapley_values_over_all_orders(model: LoadedModel) -> None:
    def forward(ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        return logits(model.network, Inputs(ids, mask, types, torch.zeros_like(ids, dtype=torch.bool)))

    for pair in (("film slowly good", None), ("great", "actings was")):
        row = encode(model.tokenizer, *pair)
        alone, groups = collate([row], model.pad_id), word_groups(row.words)
        # Captum's features: one a word; the special tokens are one more, which [MASK] leaves as it is.
        features = torch.tensor([[0 if word is None else word + 1 for word in row.words]])
        baseline = alone.input_ids.masked_fill(~alone.special, MASK_ID)
        for target in range(3):
            theirs = ShapleyValues(forward).attribute(
                alone.input_ids,
                baselines=baseline,
                target=target,
                feature_mask=features,
                additional_forward_args=(alone.attention_mask, alone.token_type_ids),
                perturbations_per_eval=1,
            )
            found = attribute("shap", model, alone, torch.tensor([target]), words=word_numbers([row])).scores[0]
            for positions in groups:
                assert found[positions].sum().item() == pytest.approx(theirs[0, positions[0]].item(), abs=1e-5)


def test_scores_add_up_to_the_change_from_all_words_erased(model: LoadedModel, rows: list[Encoded]) -> None:
    rows = [*rows, encode(model.tokenizer, LONG)]
    inputs, words = collate(rows, model.pad_id), word_numbers(rows)
    for target, found in enumerate(attribute_each("shap", model, inputs, torch.arange(3).expand(6, 3), words=words)):
        whole, erased = masked_logits(model, rows, target)
        torch.testing.assert_close(found.scores.sum(dim=1), whole - erased, rtol=1e-5, atol=1e-5)
        assert found.gap is not None
        assert found.relative_gap is not None
        assert found.gap.max() <= 1e-9  # in float64, over the values measured: whatever is drawn
        assert found.relative_gap.max() <= 1e-9


def test_a_seed_repeats_a_sampled_map_bit_for_bit(model: LoadedModel) -> None:
    row = encode(model.tokenizer, LONG)
    inputs, words, target = collate([row], model.pad_id), word_numbers([row]), torch.tensor([0])
    maps = [attribute("shap", model, inputs, target, words=words, seed=seed).scores for seed in (7, 7, 8)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_a_sampled_map_is_the_same_alone_and_in_a_batch(model: LoadedModel, rows: list[Encoded]) -> None:
    rows = [*rows, encode(model.tokenizer, LONG)]
    together = attribute("shap", model, collate(rows, 0), torch.zeros(6).long(), words=word_numbers(rows), seed=3)
    alone = attribute("shap", model, collate(rows[-1:], 0), torch.tensor([0]), words=word_numbers(rows[-1:]), seed=3)
    torch.testing.assert_close(together.scores[-1], alone.scores[0], rtol=1e-5, atol=1e-5)


def test_sampling_comes_near_the_exact_values_and_knows_how_near(model: LoadedModel) -> None:
    row = encode(model.tokenizer, "the film is good but boring and the music bad")
    inputs, words, target = collate([row], model.pad_id), word_numbers([row]), torch.tensor([0])
    exact = attribute(Shap(exact_words=10), model, inputs, target, words=words)
    errors = {}
    for pairs in (4, 400):
        sampled = attribute(Shap(exact_words=0, order_pairs=pairs, tolerance=0.03), model, inputs, target, words=words)
        errors[pairs] = ((sampled.scores - exact.scores).abs().sum() / exact.scores.abs().sum()).item()
        assert sampled.converged is not None
        assert sampled.converged.tolist() == [pairs == 400]
        assert sampled.sampling_error is not None
        assert errors[pairs] / 3 < sampled.sampling_error.item() < errors[pairs] * 6
    assert errors[400] < 0.02 < errors[4]
    assert exact.sampling_error is not None
    assert exact.sampling_error.tolist() == [0.0]


def test_special_tokens_and_words_equal_to_their_baseline_score_zero(model: LoadedModel, inputs: Inputs) -> None:
    words = torch.arange(inputs.input_ids.shape[1]).repeat(5, 1).masked_fill(inputs.special, -1)
    for baseline in ("zero", "mask"):
        scores = attribute("shap", model, inputs, torch.zeros(5).long(), baseline=baseline, words=words).scores
        assert (scores[inputs.special] == 0).all()
    masked = collate([encode(model.tokenizer, "good film")], 0)
    masked = Inputs(torch.tensor([[2, 4, 4, 3]]), masked.attention_mask, None, masked.special)  # [MASK] [MASK]
    found = attribute("shap", model, masked, torch.tensor([0]), words=torch.tensor([[-1, 0, 1, -1]]))
    assert found.scores.tolist() == [[0.0] * 4]
    assert found.converged is not None
    assert found.converged.tolist() == [True]


def test_without_words_and_with_useless_settings_it_is_refused(model: LoadedModel, inputs: Inputs) -> None:
    with pytest.raises(AttributionError, match="needs the number of each token"):
        attribute("shap", model, inputs, torch.zeros(5).long())
    with pytest.raises(ConfigError, match="order_pairs at least 2"):
        Shap(order_pairs=1)
