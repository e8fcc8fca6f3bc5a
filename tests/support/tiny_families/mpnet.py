"""A tiny MPNet: word pieces between RoBERTa's special tokens, relative positions beside absolute ones."""

from tests.support.tiny_families.family import POSITIONS_FROM_TWO, TinyFamily
from tests.support.tiny_tokenizers import TokenizerKind, wordpiece

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
VARIANTS = {
    "mpnet": TinyFamily(
        "mpnet",
        TokenizerKind(wordpiece, SPECIAL_TOKENS, gives_segments=False),
        settings={**POSITIONS_FROM_TWO, "relative_attention_num_buckets": 32},
    )
}
