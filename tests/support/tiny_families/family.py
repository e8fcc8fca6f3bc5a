"""What the tests need to know of a family: its tokenizer, its config, and how it treats segments and positions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from tests.support.tiny_tokenizers import TokenizerKind

POSITIONS_FROM_TWO = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "max_position_embeddings": 66}


@dataclass(frozen=True)
class TinyFamily:
    """One variant of a family.

    `word_start`: what the first piece of a word begins with, empty where the other pieces are marked. `settings`: of
    its config, besides the common ones. `renamed`: its own names for common settings, empty for those it lacks.
    `uses_segments`: its answers depend on segment ids.
    """

    model_type: str
    tokenizer_kind: TokenizerKind
    word_start: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    uses_segments: bool = False

    def config(self, layers: int, classes: int, dropout: float, **settings: Any) -> PreTrainedConfig:
        """Return the config of a network 16 wide with two heads; `settings` go before its own."""
        common = {
            "hidden_size": 16,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
            "hidden_dropout_prob": dropout,
            "attention_probs_dropout_prob": dropout,
        }
        named = {self.renamed.get(name, name): value for name, value in common.items()}
        named |= {"vocab_size": len(self.tokenizer_kind.tokenizer()), "pad_token_id": 0, "num_labels": classes}
        return AutoConfig.for_model(self.model_type, **(named | dict(self.settings) | settings))
