"""A tiny DeBERTa: relative positions as v2 and v3 are published, and a variant with absolute positions and segments."""

from tests.support.tiny_families.family import TinyFamily
from tests.support.tiny_tokenizers import TokenizerKind, unigram

TOKENIZER = TokenizerKind(unigram, ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"), gives_segments=True)
RELATIVE = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
VARIANTS = {
    "deberta-v2": TinyFamily(  # with the convolution of the largest published ones
        "deberta-v2", TOKENIZER, word_start="▁", settings={**RELATIVE, "conv_kernel_size": 3, "conv_act": "gelu"}
    ),
    "deberta-v3": TinyFamily("deberta-v2", TOKENIZER, word_start="▁", settings=RELATIVE),
    "deberta-absolute": TinyFamily(
        "deberta-v2",
        TOKENIZER,
        word_start="▁",
        settings={"type_vocab_size": 2, "embedding_size": 8},
        uses_segments=True,
    ),
}
