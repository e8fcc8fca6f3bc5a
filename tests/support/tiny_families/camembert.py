"""A tiny CamemBERT: XLM-RoBERTa's architecture with unigrams."""

from tests.support.tiny_families.family import POSITIONS_FROM_TWO, TinyFamily
from tests.support.tiny_tokenizers import ROBERTA_SPECIAL_TOKENS, TokenizerKind, unigram

VARIANTS = {
    "camembert": TinyFamily(
        "camembert",
        TokenizerKind(unigram, ROBERTA_SPECIAL_TOKENS, gives_segments=False),
        word_start="▁",
        settings={**POSITIONS_FROM_TWO, "type_vocab_size": 1},
    )
}
