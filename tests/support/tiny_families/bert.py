"""A tiny BERT: word pieces and segments."""

from tests.support.tiny_families.family import TinyFamily
from tests.support.tiny_tokenizers import BERT_SPECIAL_TOKENS, TokenizerKind, wordpiece

VARIANTS = {
    "bert": TinyFamily("bert", TokenizerKind(wordpiece, BERT_SPECIAL_TOKENS, gives_segments=True), uses_segments=True)
}
