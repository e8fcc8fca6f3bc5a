"""The baselines are what their names say."""

import pytest
import torch

from distill_core.attribution.baselines import baseline_embeddings
from distill_core.errors import AttributionError, ConfigError
from distill_core.models.encoder import LoadedModel, embed
from distill_core.models.tokenization import Inputs


@pytest.mark.parametrize(("baseline", "token"), [("pad", 0), ("mask", 4)])
def test_content_is_replaced_and_specials_positions_and_segments_stay(
    baseline: str, token: int, model: LoadedModel, inputs: Inputs
) -> None:
    found = baseline_embeddings(model.network, model.tokenizer, inputs, baseline)
    ids = inputs.input_ids.tolist()
    for row in range(5):
        for position in range(int(inputs.mask[row].sum())):
            if not inputs.special[row, position]:
                ids[row][position] = token
    by_hand = Inputs(torch.tensor(ids), inputs.attention_mask, inputs.token_type_ids, inputs.special)
    torch.testing.assert_close(found, embed(model.network, by_hand))


def test_zero_is_zero_everywhere(model: LoadedModel, inputs: Inputs) -> None:
    assert not baseline_embeddings(model.network, model.tokenizer, inputs, "zero").any()


def test_an_unknown_baseline_or_a_token_the_tokenizer_lacks_is_refused(model: LoadedModel, inputs: Inputs) -> None:
    with pytest.raises(ConfigError, match="Unknown baseline 'blur'"):
        baseline_embeddings(model.network, model.tokenizer, inputs, "blur")
    model.tokenizer.mask_token = None
    with pytest.raises(AttributionError, match="no mask token"):
        baseline_embeddings(model.network, model.tokenizer, inputs, "mask")
