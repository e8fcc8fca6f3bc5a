"""The digest of a tokenizer's output on fixed texts: equal digests mean that two models read the same tokens."""

import hashlib
import json
import re
from functools import cache

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from distill_core.catalog.catalog import BUNDLE
from distill_core.data.datasets import load_split
from distill_core.data.tasks import TASKS
from distill_core.errors import ModelError
from distill_core.models.encoder import LoadedModel
from distill_core.models.tokenization import tokenizer_errors_as

HARD_TEXTS = (  # texts on which tokenizers of the same vocabulary differ
    "Upper lower CAPITALS camelCase McDonald",
    "naïve café Ünïcödé Straße İstanbul e\u0301 combining",
    "don't won't it's they'll o'clock rock'n'roll",
    "  two  spaces\tand a tab\nand a line ",
    "1,234.56 $5 3.14 1e-9 2nd 50% 007",
    "U.S.A. e.g. state-of-the-art and/or http://a.b/c?d=e&f=g me@b.org",
    "[CLS] [SEP] [MASK] [PAD] [UNK] <s> </s> <mask> ##ing ▁word Ġword",
    "日本語 中文 한국어 العربية עברית русский Ελληνικά हिन्दी ไทย",
    "😀 👩‍👩‍👧 ♥ → … – — “quoted” ‘single’ «guillemets» ½ ² ™",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break control\u0007 replacement\ufffd",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 150,
)

MIN_CASED_WORDS = 100  # capitalised words in a vocabulary: one of lower-cased text has fewer


def token_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a SHA-256 over the tokens and ids of all bundled texts and HARD_TEXTS, single and as a pair.

    With equal digests a text becomes the same tokens, and one model can read what was tokenised for the other.
    ModelError if the tokenizer fails on one of the texts.
    """
    digest = hashlib.sha256()
    texts = [*HARD_TEXTS, *_bundled_texts()]
    with tokenizer_errors_as(ModelError, "The model's tokenizer fails at ordinary texts"):
        rows = tokenizer(texts, split_special_tokens=True, verbose=False)["input_ids"]
        rows += [tokenizer(HARD_TEXTS[0], HARD_TEXTS[1], split_special_tokens=True)["input_ids"]]
    for row in rows:
        digest.update(json.dumps([row, tokenizer.convert_ids_to_tokens(row)]).encode())
    return digest.hexdigest()


def same_tokens(one: LoadedModel, other: LoadedModel) -> bool:
    """Return whether two models split text into the same tokens with the same ids, as teacher and student must."""
    return token_digest(one.tokenizer) == token_digest(other.tokenizer)


def loses_capitals(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer lower-cases text although its vocabulary has capitalised words.

    This happens to a cased BERT whose folder has vocab.txt but no setting for the case: transformers lower-cases by
    default.
    """
    capital = sum(1 for token in tokenizer.get_vocab() if re.fullmatch("[A-Z][a-z]+", token))
    same = tokenizer("The Film Is Good")["input_ids"] == tokenizer("the film is good")["input_ids"]
    return same and capital >= MIN_CASED_WORDS


def same_as_bundled(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer splits text into the same tokens with the same ids as that of the bundled models."""
    return token_digest(tokenizer) == _bundled_digest()


@cache
def _bundled_digest() -> str:
    return token_digest(AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True))


@cache
def _bundled_texts() -> tuple[str, ...]:
    """Return every text of the bundled examples, both texts of a pair."""
    splits = (load_split(task, split, "bundled") for task in TASKS for split in ("train", "validation"))
    examples = (example for split in splits for example in split.examples)
    return tuple(text for example in examples for text in (example.text, example.text_pair) if text)
