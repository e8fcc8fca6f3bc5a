"""A tiny ELECTRA: word pieces and segments, an embedding block of another width."""

from tests.support.tiny_families.family import TinyFamily
from tests.support.tiny_tokenizers import BERT_SPECIAL_TOKENS, TokenizerKind, wordpiece

VARIANTS = {
    "electra": TinyFamily(
        "electra",
        TokenizerKind(wordpiece, BERT_SPECIAL_TOKENS, gives_segments=True),
        settings={"embedding_size": 8},
        uses_segments=True,
    )
}
