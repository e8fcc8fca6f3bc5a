"""Integrated gradients: known answers, completeness, honesty about convergence, and equality with Captum."""

import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import LayerIntegratedGradients
from torch import Tensor

from distill_core.attribution import attribute, attribute_each
from distill_core.attribution.baselines import BASELINES
from distill_core.attribution.integrated_gradients import IntegratedGradients, gauss_legendre
from distill_core.errors import ConfigError
from distill_core.models.bundle import open_model
from distill_core.models.encoder import LoadedModel, embed, logits, logits_from_embeddings
from distill_core.models.tokenization import Inputs, collate, encode
from tests.support.toy_models import FIRST, SECOND, squares, toy, toy_inputs

ZERO = torch.tensor([0])


def test_squares_from_zero_give_each_token_its_own_squares() -> None:
    model = toy([1.0, 2.0], [3.0, -1.0], squares)
    found = attribute("integrated_gradients", model, toy_inputs([FIRST, SECOND]), ZERO)
    torch.testing.assert_close(found.scores, torch.tensor([[5.0, 10.0]]))  # 1 + 4, 9 + 1
    assert found.gap is not None
    assert found.gap.item() < 1e-6


@pytest.mark.parametrize("nodes", [1, 2, 5, 30])
def test_the_path_is_covered_to_its_end(nodes: int) -> None:
    """A rule that never reaches x sums to 0.967 of F(x) − F(0) at 30 steps; one node must already be exact here."""
    model = toy([1.0, 2.0], [3.0, -1.0], squares)
    found = attribute(IntegratedGradients(nodes=nodes), model, toy_inputs([FIRST, SECOND]), ZERO)
    assert found.scores.sum().item() == pytest.approx(15.0, abs=1e-5)


def test_the_rule_is_gauss_legendre_on_zero_to_one() -> None:
    nodes, weights = gauss_legendre(2)
    assert nodes == pytest.approx((0.2113248654, 0.7886751346))
    assert weights == pytest.approx((0.5, 0.5))
    nodes, weights = gauss_legendre(3)
    assert sum(w * n**5 for n, w in zip(nodes, weights, strict=True)) == pytest.approx(1 / 6)


@pytest.mark.parametrize("output", ["logit", "log_probability"])
@pytest.mark.parametrize("baseline", BASELINES)
def test_scores_are_complete_for_the_baseline_asked_for(
    baseline: str, output: str, model: LoadedModel, inputs: Inputs
) -> None:
    target = torch.arange(5) % 3
    found = attribute(IntegratedGradients(tolerance=1e-3), model, inputs, target, baseline=baseline, output=output)
    token = {"pad": 0, "mask": 4}.get(baseline)
    with torch.no_grad():
        x = embed(model.network, inputs)
        ids = inputs.input_ids.clone()
        ids[inputs.mask & ~inputs.special] = token or 0
        blank = Inputs(ids, inputs.attention_mask, inputs.token_type_ids, inputs.special)
        reference = torch.zeros_like(x) if token is None else embed(model.network, blank)
        ends = [logits_from_embeddings(model.network, point, inputs) for point in (x, reference)]
    if output == "log_probability":
        ends = [end.log_softmax(dim=1) for end in ends]
    difference = (ends[0] - ends[1]).gather(1, target[:, None])[:, 0]
    mass = found.scores.abs().sum(dim=1)
    gap = (found.scores.sum(dim=1) - difference).abs()
    assert (gap <= 1.1e-3 * mass).all()
    assert found.gap is not None
    assert found.relative_gap is not None
    assert found.converged is not None
    torch.testing.assert_close(found.gap, gap, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.relative_gap, gap / mass, atol=1e-5, rtol=0)
    assert found.converged.all()
    assert found.baseline == baseline


@pytest.mark.parametrize("baseline", ["pad", "mask"])
def test_special_tokens_stay_in_place(baseline: str, model: LoadedModel, inputs: Inputs) -> None:
    scores = attribute("integrated_gradients", model, inputs, torch.zeros(5).long(), baseline=baseline).scores
    assert (scores[inputs.special] == 0).all()


def _step(x: Tensor, mask: Tensor) -> Tensor:
    """Class 0: a step of height 1 as the first dimension passes 0.3, a tenth of its value beside it."""
    counted = (x * mask[:, :, None])[:, :, 0]
    return torch.stack([torch.sigmoid(300 * (counted - 0.3)).sum(1) + 0.1 * counted.sum(1), counted.sum(1)], dim=1)


def test_a_sharp_bend_takes_more_nodes_where_it_is() -> None:
    model, inputs = toy([1.0], [0.1], _step), toy_inputs([FIRST, SECOND])
    coarse = attribute(IntegratedGradients(nodes=20), model, inputs, ZERO)
    found = attribute("integrated_gradients", model, inputs, ZERO)
    assert coarse.converged is not None
    assert not coarse.converged.item()
    assert found.converged is not None
    assert found.converged.item()
    assert found.scores[0].tolist() == pytest.approx([1.1, 0.01], abs=0.015)
    assert found.nodes is not None
    assert 20 < found.nodes.item() <= 400


def test_a_cap_on_the_nodes_is_kept_and_the_map_marked() -> None:
    model, inputs = toy([1.0], [0.1], _step), toy_inputs([FIRST, SECOND])
    found = attribute(IntegratedGradients(max_nodes=30), model, inputs, ZERO)
    assert found.converged is not None
    assert not found.converged.item()
    assert found.nodes is not None
    assert found.nodes.item() <= 30
    assert found.relative_gap is not None
    assert found.relative_gap.item() > 0.01


def _two_steps(x: Tensor, mask: Tensor) -> Tensor:
    """Class 0: the first dimension steps up at 0.22, the second down at 0.78: errors of a rule cancel."""
    first, second = ((x * mask[:, :, None])[:, :, index].sum(1) for index in (0, 1))
    steps = torch.sigmoid(200 * (first - 0.22)) - torch.sigmoid(200 * (second - 0.78))
    return torch.stack([steps, steps], dim=1)


def test_errors_that_cancel_are_not_taken_for_convergence() -> None:
    model, inputs = toy([1.0, 0.0], [0.0, 1.0], _two_steps), toy_inputs([FIRST, SECOND])
    coarse = attribute(IntegratedGradients(nodes=12), model, inputs, ZERO)
    assert coarse.gap is not None
    assert coarse.gap.item() < 1e-4  # complete, and yet far from the true +1 and −1
    assert abs(coarse.scores[0, 0].item() - 1) > 0.05
    found = attribute("integrated_gradients", model, inputs, ZERO)
    assert found.scores[0].tolist() == pytest.approx([1.0, -1.0], abs=0.02)


def test_a_network_that_is_constant_has_a_map_of_zeros() -> None:
    model = toy([1.0], [2.0], lambda x, mask: torch.stack([0 * (x[:, :, 0] * mask).sum(1) + 3] * 2, dim=1))
    found = attribute("integrated_gradients", model, toy_inputs([FIRST, SECOND]), ZERO)
    assert found.scores.tolist() == [[0.0, 0.0]]
    assert found.relative_gap is not None
    assert found.relative_gap.item() == 0
    assert found.converged is not None
    assert found.converged.item()


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("output", ["logit", "log_probability"])
def test_it_equals_captum_at_the_same_nodes(baseline: str, output: str, model: LoadedModel, inputs: Inputs) -> None:
    target = torch.arange(5) % 3
    ours = attribute(IntegratedGradients(nodes=16), model, inputs, target, baseline=baseline, output=output)
    theirs = captum(model, inputs, target, baseline, output, 16)
    torch.testing.assert_close(ours.scores, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("shared_bundle")
@pytest.mark.slow
@pytest.mark.parametrize("baseline", BASELINES)
def test_it_equals_captum_on_the_bundled_teacher(baseline: str) -> None:
    model = open_model("bundled/sst2-teacher")
    rows = [
        encode(model.tokenizer, text) for text in ("a warm and funny film", "not bad , but it drags on far too long")
    ]
    inputs = collate(rows, model.pad_id)
    targets = torch.arange(2).expand(2, 2)
    ours = attribute_each(IntegratedGradients(nodes=24), model, inputs, targets, baseline=baseline)
    for index, found in enumerate(ours):
        theirs = captum(model, inputs, targets[:, index], baseline, "logit", 24)
        torch.testing.assert_close(found.scores, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"tolerance": 0.0}, {"nodes": -1}, {"pieces": 0}, {"nodes_per_piece": 0}, {"max_nodes": 10}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        IntegratedGradients(**settings)


def captum(model: LoadedModel, inputs: Inputs, target: Tensor, baseline: str, output: str, nodes: int) -> Tensor:
    """Return Captum's token scores: on the embedding layer, or from zero embeddings on the layer's output."""
    network = model.network

    def value(result: Tensor) -> Tensor:
        return result if output == "logit" else result.log_softmax(dim=1)

    if baseline == "zero":
        engine = CaptumIntegratedGradients(
            lambda x, mask: value(
                logits_from_embeddings(network, x, Inputs(inputs.input_ids, mask, None, inputs.special))
            )
        )
        found = engine.attribute(
            embed(network, inputs).detach(),
            target=target,
            additional_forward_args=(inputs.attention_mask,),
            n_steps=nodes,
            method="gausslegendre",
        )
        return found.sum(dim=-1).detach()

    def forward(ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        return value(logits(network, Inputs(ids, mask, types, torch.zeros_like(ids, dtype=torch.bool))))

    token = model.tokenizer.pad_token_id if baseline == "pad" else model.tokenizer.mask_token_id
    blank = torch.where(inputs.mask & ~inputs.special, token, inputs.input_ids)
    engine = LayerIntegratedGradients(forward, network.base_model.embeddings)
    found = engine.attribute(
        inputs.input_ids,
        baselines=blank,
        target=target,
        additional_forward_args=(inputs.attention_mask, inputs.token_type_ids),
        n_steps=nodes,
        method="gausslegendre",
    )
    return found.sum(dim=-1).detach()


def test_converged_means_the_tokens_too_not_only_their_sum() -> None:
    """From zero, this teacher's errors cancel in the sum: the gap alone would pass maps that are a tenth off."""
    model = open_model("bundled/sst2-teacher")
    texts = ("what a mess .", "nobody who loves jazz should go without seeing this .", "not bad at all .")
    inputs = collate([encode(model.tokenizer, text) for text in texts], model.pad_id)
    target = torch.ones(len(texts)).long()
    found = attribute("integrated_gradients", model, inputs, target, baseline="zero")
    fine = IntegratedGradients(tolerance=1e-3, pieces=24, max_nodes=2000)
    resolved = attribute(fine, model, inputs, target, baseline="zero").scores
    assert found.converged is not None
    assert found.converged.all()
    off = (found.scores - resolved).abs().sum(dim=1) / resolved.abs().sum(dim=1)
    assert off.max().item() <= 0.01
