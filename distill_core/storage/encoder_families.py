"""The encoder families: how each architecture names its settings in config.json and its modules, and so its weights.

One entry holds all that the library has to know about a family, as names and flags: the catalog reads depth and width
from a model folder, `models/layers` finds and cuts the layers, `models/encoder` runs them. The table is in `storage`
and not in `models`, because the catalog needs it and must not import torch; modules are named by strings, so one table
serves both halves. A new family is one entry here and one file in tests/support/tiny_families.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distill_core.errors import ModelError


@dataclass(frozen=True)
class EncoderFamily:
    """One architecture of `transformers`; the defaults are BERT's.

    Settings in config.json: `depth`, `width` and `heads` name the number of layers, the hidden width and the number of
    attention heads.

    Modules: `embeddings` is the embedding block of the base model, `layers` the path from the base model to the list of
    layers, `attention` the path from a layer to the module that holds the projections, `projections` the names of the
    query, key and value projection in it, `output_layer` the path from the classifier model to its last linear layer,
    whose rows are the classes.

    Behaviour: `shares_layers`: the list holds groups of layers that are run several times (ALBERT).
    `positions_skip_padding`: positions are counted over the tokens that are not padding, beginning after the padding's
    id. `embeddings_take_mask`: the embedding block sets padding to zero and needs the attention mask.
    """

    model_type: str
    depth: str = "num_hidden_layers"
    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    embeddings: str = "embeddings"
    layers: str = "encoder.layer"
    attention: str = "attention.self"
    projections: tuple[str, str, str] = ("query", "key", "value")
    output_layer: str = "classifier"
    shares_layers: bool = False
    positions_skip_padding: bool = False
    embeddings_take_mask: bool = False

    @property
    def stack(self) -> str:
        """The name of the module of the base model that holds the layers."""
        return self.layers.split(".")[0]

    @property
    def layer_list(self) -> str:
        """The name of the list of layers in the stack."""
        return self.layers.split(".")[1]


FAMILIES: Mapping[str, EncoderFamily] = {
    family.model_type: family
    for family in (
        EncoderFamily(
            "albert",
            layers="encoder.albert_layer_groups",
            attention="albert_layers.0.attention",
            shares_layers=True,
        ),
        EncoderFamily("bert"),
        EncoderFamily("camembert", output_layer="classifier.out_proj", positions_skip_padding=True),
        EncoderFamily(  # DeBERTa v3 is the same code
            "deberta-v2",
            projections=("query_proj", "key_proj", "value_proj"),
            embeddings_take_mask=True,
        ),
        EncoderFamily(
            "distilbert",
            depth="n_layers",
            width="dim",
            heads="n_heads",
            layers="transformer.layer",
            attention="attention",
            projections=("q_lin", "k_lin", "v_lin"),
        ),
        EncoderFamily("electra", output_layer="classifier.out_proj"),
        EncoderFamily(
            "mpnet",
            attention="attention.attn",
            projections=("q", "k", "v"),
            output_layer="classifier.out_proj",
            positions_skip_padding=True,
        ),
        EncoderFamily("roberta", output_layer="classifier.out_proj", positions_skip_padding=True),
        EncoderFamily("xlm-roberta", output_layer="classifier.out_proj", positions_skip_padding=True),
    )
}


def get_family(model_type: object, where: str) -> EncoderFamily:
    """Return the family of a model type; ModelError for one without an entry. `where` begins the message."""
    family = FAMILIES.get(str(model_type))
    if family is None:
        raise ModelError(
            f"{where} is of type {model_type!r:.60}, which is not supported; choose a model of type "
            f"{', '.join(FAMILIES)}."
        )
    return family


def family_settings(config: Mapping[str, Any]) -> EncoderFamily:
    """Return the family whose names a config.json uses; for an unknown architecture the usual names, BERT's."""
    return FAMILIES.get(str(config.get("model_type")), EncoderFamily(""))
