"""What holds for every method: shapes, padding, batches, segments, classes at once, the model left as found."""

from dataclasses import replace

import pytest
import torch

from distill_core.attribution import ATTRIBUTION_METHODS, OUTPUTS, attribute
from distill_core.attribution.baselines import BASELINES
from distill_core.attribution.reduce import word_numbers
from distill_core.errors import AttributionError, ConfigError
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Encoded, Inputs, collate
from tests.support.attribution_laws import (
    check_all_classes_equal_each,
    check_batch_equals_single,
    check_shape_and_padding,
    close,
    target_of,
)
from tests.support.tiny import tiny_network
from tests.support.toy_models import as_model, verdicts

pytestmark = pytest.mark.parametrize("method", ATTRIBUTION_METHODS)


@pytest.mark.parametrize("output", OUTPUTS)
def test_scores_have_the_tokens_shape_and_are_zero_on_padding(
    method: str, output: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs
) -> None:
    check_shape_and_padding(method, output, model, rows, inputs)


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_batch_is_scored_as_its_examples_alone(
    method: str, baseline: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs
) -> None:
    check_batch_equals_single(method, baseline, model, rows, inputs)


def test_more_padding_and_what_lies_under_it_change_nothing(
    method: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs
) -> None:
    def wider(values: torch.Tensor, fill: int) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, 7), value=fill)

    assert inputs.token_type_ids is not None
    junk = torch.where(inputs.mask, inputs.input_ids, 12)
    padded = Inputs(
        wider(junk, 13), wider(inputs.attention_mask, 0), wider(inputs.token_type_ids, 1), wider(inputs.special, True)
    )
    plain = attribute(method, model, inputs, target_of(5), words=word_numbers(rows))
    found = attribute(method, model, padded, target_of(5), words=wider(word_numbers(rows), -1))
    close(found.scores[:, : plain.scores.shape[1]], plain.scores)
    assert (found.scores[:, plain.scores.shape[1] :] == 0).all()


def test_segment_ids_are_kept(method: str, model: LoadedModel, rows: list[Encoded]) -> None:
    pair = collate([rows[1]], 0)
    assert pair.token_type_ids is not None
    assert pair.token_type_ids.any()
    one_text = replace(pair, token_type_ids=torch.zeros_like(pair.token_type_ids))
    target, words = torch.tensor([0]), word_numbers([rows[1]])
    kept, dropped = (attribute(method, model, case, target, words=words).scores for case in (pair, one_text))
    assert (kept - dropped).abs().max() > 1e-2


@pytest.mark.parametrize("output", OUTPUTS)
def test_all_classes_at_once_are_each_class_alone(
    method: str, output: str, model: LoadedModel, rows: list[Encoded], inputs: Inputs
) -> None:
    check_all_classes_equal_each(method, output, model, rows, inputs)


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_found(method: str, training: bool, rows: list[Encoded], inputs: Inputs) -> None:
    network = tiny_network(classes=3, dropout=0.3).train(training)
    model, words = as_model(network, 3), word_numbers(rows)
    network.bert.encoder.layer[0].attention.eval()  # modes may be mixed
    modes = [module.training for module in network.modules()]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():  # a caller may be in this mode
        first = attribute(method, model, inputs, target_of(5), words=words)
    second = attribute(method, model, inputs, target_of(5), words=words)
    assert torch.equal(first.scores, second.scores)  # no dropout, though the network trains
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None and value.requires_grad for value in network.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in network.modules()
    )
    close(first.scores, attribute(method, as_model(network.eval(), 3), inputs, target_of(5), words=words).scores)


def test_the_telling_word_wins(method: str, judge: LoadedModel) -> None:
    inputs, labels, places = verdicts(40, torch.Generator().manual_seed(9))
    assert torch.equal(logits(judge.network, inputs).argmax(dim=1), labels)
    words = torch.arange(11).repeat(40, 1).masked_fill(inputs.special, -1)
    scores = attribute(method, judge, inputs, labels, words=words).scores
    content = scores.masked_fill(inputs.special, 0.0)
    first = content.abs().argmax(dim=1) == places
    assert first.float().mean() >= 0.8  # by chance: 1 in 9
    if ATTRIBUTION_METHODS[method].default_baseline is not None:  # a local slope may point either way
        assert (content[torch.arange(40), places] > 0).float().mean() >= 0.9  # it speaks for its own class


def test_what_cannot_be_asked_is_refused_by_name(method: str, model: LoadedModel, inputs: Inputs) -> None:
    target = target_of(5)
    with pytest.raises(ConfigError, match=r"Unknown attribution method .magic.*occlusion_word"):
        attribute("magic", model, inputs, target)
    with pytest.raises(ConfigError, match="Unknown baseline 'noise'; choose one of: zero, pad, mask"):
        attribute(method, model, inputs, target, baseline="noise")
    with pytest.raises(ConfigError, match="Unknown output 'odds'; choose one of: logit, log_probability"):
        attribute(method, model, inputs, target, output="odds")
    with pytest.raises(ConfigError, match="the model has 0 to 2"):
        attribute(method, model, inputs, target + 1)
    with pytest.raises(AttributionError, match="Targets have shape"):
        attribute(method, model, inputs, target[:4])
    empty = replace(inputs, attention_mask=torch.zeros_like(inputs.attention_mask))
    with pytest.raises(AttributionError, match="no token"):
        attribute(method, model, empty, target)


def test_a_network_that_overflows_is_refused(method: str, inputs: Inputs, rows: list[Encoded]) -> None:
    network = tiny_network(classes=3)
    with torch.no_grad():
        network.classifier.weight.fill_(float("nan"))
    with pytest.raises(AttributionError, match="not finite"):
        attribute(method, as_model(network, 3), inputs, target_of(5), words=word_numbers(rows))
