"""A tiny XLM-RoBERTa: RoBERTa's architecture with unigrams."""

from tests.support.tiny_families.family import POSITIONS_FROM_TWO, TinyFamily
from tests.support.tiny_tokenizers import ROBERTA_SPECIAL_TOKENS, TokenizerKind, unigram

VARIANTS = {
    "xlm-roberta": TinyFamily(
        "xlm-roberta",
        TokenizerKind(unigram, ROBERTA_SPECIAL_TOKENS, gives_segments=False),
        word_start="▁",
        settings={**POSITIONS_FROM_TWO, "type_vocab_size": 1},
    )
}
