"""Tiny tokenizers of each kind that the encoder families use: word pieces, byte pairs, unigrams; no files."""

from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from tests.support.tiny import WORDS

_WHOLE = [word for word in WORDS if word.isalpha()]
_PARTS = ["s", "ly", "ing", ".", ",", "!"]
_LETTERS = list("abcdefghijklmnopqrstuvwxyz")
BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def wordpiece(special_tokens: tuple[str, ...], unknown: str) -> Tokenizer:
    vocabulary = [*special_tokens, *_WHOLE, *_PARTS, *(f"##{part}" for part in _PARTS)]
    core = Tokenizer(WordPiece({piece: index for index, piece in enumerate(vocabulary)}, unk_token=unknown))
    core.normalizer = Lowercase()
    core.pre_tokenizer = Whitespace()
    return core


def byte_pairs(special_tokens: tuple[str, ...], unknown: str) -> Tokenizer:
    core = Tokenizer(BPE(unk_token=unknown))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=list(special_tokens), initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator([" ".join(["", *_WHOLE])] * 3, trainer)
    return core


def unigram(special_tokens: tuple[str, ...], unknown: str) -> Tokenizer:
    pieces = [(token, 0.0) for token in special_tokens] + [(f"▁{word}", -3.0) for word in _WHOLE]
    pieces += [(part, -4.0) for part in _PARTS] + [("▁", -6.0)]
    pieces += [(letter, -9.0) for letter in _LETTERS if letter not in _PARTS]
    core = Tokenizer(Unigram(pieces, unk_id=special_tokens.index(unknown)))
    core.pre_tokenizer = Metaspace()
    return core


@dataclass(frozen=True)
class TokenizerKind:
    """A kind of tokenizer: its special tokens in the order of their ids, and whether it gives segment ids."""

    core: Callable[[tuple[str, ...], str], Tokenizer]
    special_tokens: tuple[str, ...]
    gives_segments: bool

    def tokenizer(self, limit: int = 64) -> PreTrainedTokenizerFast:
        """Return a tiny tokenizer of this kind."""
        named = {token.strip("<>[]/").lower(): token for token in self.special_tokens}
        first, last = ("<s>", "</s>") if "<s>" in self.special_tokens else ("[CLS]", "[SEP]")
        unknown = named["unk"]
        core = self.core(self.special_tokens, unknown)
        second = ":1" if self.gives_segments else ""
        between = "" if first == "[CLS]" else f"{last} "
        core.post_processor = TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} {between}$B{second} {last}{second}",
            special_tokens=[(token, self.special_tokens.index(token)) for token in (first, last)],
        )
        names = (
            ["input_ids", "token_type_ids", "attention_mask"]
            if self.gives_segments
            else ["input_ids", "attention_mask"]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            unk_token=unknown,
            pad_token=named["pad"],
            cls_token=first,
            sep_token=last,
            mask_token=named["mask"],
            model_max_length=limit,
            model_input_names=names,
        )
