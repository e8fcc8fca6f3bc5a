"""A tiny RoBERTa: byte pairs, one segment, positions that begin after the padding's."""

from tests.support.tiny_families.family import POSITIONS_FROM_TWO, TinyFamily
from tests.support.tiny_tokenizers import ROBERTA_SPECIAL_TOKENS, TokenizerKind, byte_pairs

VARIANTS = {
    "roberta": TinyFamily(
        "roberta",
        TokenizerKind(byte_pairs, ROBERTA_SPECIAL_TOKENS, gives_segments=False),
        word_start="Ġ",
        settings={**POSITIONS_FROM_TWO, "type_vocab_size": 1},
    )
}
