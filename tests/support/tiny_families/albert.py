"""A tiny ALBERT: unigrams, layers that share their weights, an embedding block of another width."""

from tests.support.tiny_families.family import TinyFamily
from tests.support.tiny_tokenizers import TokenizerKind, unigram

SPECIAL_TOKENS = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
VARIANTS = {
    "albert": TinyFamily(
        "albert",
        TokenizerKind(unigram, SPECIAL_TOKENS, gives_segments=True),
        word_start="▁",
        settings={"embedding_size": 8},
        uses_segments=True,
    )
}
