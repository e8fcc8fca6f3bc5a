"""A tiny DistilBERT: word pieces, no segments, its own names in the config."""

from tests.support.tiny_families.family import TinyFamily
from tests.support.tiny_tokenizers import BERT_SPECIAL_TOKENS, TokenizerKind, wordpiece

RENAMED = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}
VARIANTS = {
    "distilbert": TinyFamily(
        "distilbert", TokenizerKind(wordpiece, BERT_SPECIAL_TOKENS, gives_segments=False), renamed=RENAMED
    )
}
