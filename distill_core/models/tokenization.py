"""Tokenization: texts to token ids, the words they belong to and their display; rows of ids to padded batches.

A word is a run of characters between blanks (ours), for every tokenizer: spaces are the only places where all
tokenizers split, and they receive a space for every other blank. So no token belongs to two words, and models that
split a text differently still share its words. By the tokenizers' own words ("don't" is three in BERT, one in XLM-R)
they would not.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from distill_core.data.datasets import Example
from distill_core.errors import ConfigError, DataError, DistillError

BLANK = "␣"  # how a token of blanks only is shown
# Blanks are the spaces of Unicode and the ends of lines. BERT deletes the other control characters that \s matches
# without splitting there, so they are part of a word.
_WORD = re.compile(r"(?:\S|[\x0b\x0c\x1c-\x1f\x85])+")
_BLANK = re.compile(r"[^\S\x0b\x0c\x1c-\x1f\x85]")
_BYTES = {letter: byte for byte, letter in bytes_to_unicode().items()}  # byte-level tokenizers' letter for each byte


@dataclass(frozen=True)
class Encoded:
    """One tokenised example, T tokens, unpadded.

    `special`: True at [CLS], [SEP] and the like. `words[t]`: index in `written_words` of the word that token t
    belongs to, None at special tokens. `segments[t]`: 0 in the first text, 1 in
    the second, None at special tokens. `shown`: the tokens as displayed (see `_shown`). `left_out`: number of
    truncated tokens. `cut`: words truncated wholly or in part. `unread`: words that the vocabulary lacks in part: one
    of their tokens is the unknown token, or they have none.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...] | None
    special: tuple[bool, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    left_out: int
    cut: tuple[int, ...]
    unread: tuple[int, ...]


@dataclass(frozen=True)
class Inputs:
    """A batch padded on the right: the argument of every network call, so that no caller can drop mask or segments."""

    input_ids: Int[Tensor, "batch token"]
    attention_mask: Int[Tensor, "batch token"]
    token_type_ids: Int[Tensor, "batch token"] | None
    special: Bool[Tensor, "batch token"]

    @property
    def mask(self) -> Bool[Tensor, "batch token"]:
        """True at tokens, False at padding."""
        return self.attention_mask.bool()

    def to(self, device: torch.device | str) -> "Inputs":
        """Return the batch on `device`."""
        types = None if self.token_type_ids is None else self.token_type_ids.to(device)
        return Inputs(self.input_ids.to(device), self.attention_mask.to(device), types, self.special.to(device))

    def repeat(self, copies: int) -> "Inputs":
        """Return `copies` copies of the batch one after another, of the same width."""
        types = None if self.token_type_ids is None else self.token_type_ids.repeat(copies, 1)
        ids, mask, special = (part.repeat(copies, 1) for part in (self.input_ids, self.attention_mask, self.special))
        return Inputs(ids, mask, types, special)

    def select(self, rows: Int[Tensor, " row"]) -> "Inputs":
        """Return some rows (an index may repeat) without the padding columns that none of them needs."""
        width = int(self.attention_mask[rows].sum(dim=1).max())
        types = None if self.token_type_ids is None else self.token_type_ids[rows, :width]
        return Inputs(
            self.input_ids[rows, :width], self.attention_mask[rows, :width], types, self.special[rows, :width]
        )


def encode(
    tokenizer: PreTrainedTokenizerBase, text: str, text_pair: str | None = None, max_length: int = 128
) -> Encoded:
    """Tokenise a text or a pair, truncated to `max_length` tokens including special ones.

    A typed "[SEP]" is plain text: only the tokenizer's template sets special tokens. (The name of the unknown token may
    become that token; the word is then unread.) Raises DataError for a blank text, a text of special tokens only, a
    typed special token that cannot be plain text or a failure of the tokenizer, ConfigError for a `max_length` that
    leaves no room for a word.
    """
    _check_filled(text, text_pair)
    source, whole = _prepare_texts(tokenizer, (text,) if text_pair is None else (text, text_pair))
    long, special_count = len(whole["input_ids"]) > max_length, sum(whole["special_tokens_mask"])
    if long and max_length <= special_count:  # tokenizers raise, do not truncate or leave no word
        raise ConfigError(
            f"max_length is {max_length}; wanted at least {special_count + 1}: one token of a word and {special_count} "
            "special tokens."
        )
    encoding = _tokenised(tokenizer, source.texts, max_length) if long else whole
    special = tuple(bool(flag) for flag in encoding["special_tokens_mask"])
    if all(special):
        raise DataError(
            "The text has no words the model can read, only blank or control characters; type at least one word."
        )
    words = source.words(encoding)
    all_words = source.words(whole) if long else words
    tokens = tuple(tokenizer.convert_ids_to_tokens(encoding["input_ids"]))
    unread = set(range(sum(map(len, source.ends)))) - set(all_words)
    for token, word, span in zip(tokens, words, source.spans(encoding), strict=True):
        if token == tokenizer.unk_token and word is not None and span.strip():
            unread.add(word)
    types = encoding.get("token_type_ids")
    return Encoded(
        ids=tuple(encoding["input_ids"]),
        types=tuple(types) if types is not None else None,
        special=special,
        words=words,
        segments=tuple(
            None if is_special else part for part, is_special in zip(encoding.sequence_ids(), special, strict=True)
        ),
        tokens=tokens,
        shown=_shown(tokenizer, tokens, encoding),
        left_out=len(all_words) - len(words),
        cut=tuple(sorted(word for word in Counter(all_words) - Counter(words) if word is not None)),
        unread=tuple(sorted(unread)),
    )


@dataclass(frozen=True)
class _SourceTexts:
    """One or two texts as a tokenizer receives them, with the end of each written word in them."""

    texts: tuple[str, ...]
    ends: tuple[list[int], ...]

    def words(self, encoding: BatchEncoding) -> tuple[int | None, ...]:
        """Return each token's word: the one it begins in, between words the next, after the last word the last."""
        before = (0, len(self.ends[0]))
        return tuple(
            None if part is None else before[part] + min(bisect_right(self.ends[part], at), len(self.ends[part]) - 1)
            for part, at, _ in _places(encoding)
        )

    def spans(self, encoding: BatchEncoding) -> tuple[str, ...]:
        """Return each token's part of the text, empty for special tokens."""
        return tuple("" if part is None else self.texts[part][start:end] for part, start, end in _places(encoding))

    def spaced(self, places: Sequence[tuple[int, int]]) -> "_SourceTexts":
        """Return the texts with a space after the first letter at each place (text, index)."""
        starts = [[at for part, at in places if part == number] for number in range(len(self.texts))]
        texts = (
            " ".join(text[begin:end] for begin, end in pairwise((0, *(at + 1 for at in own), len(text))))
            for text, own in zip(self.texts, starts, strict=True)
        )
        ends = ([end + bisect_left(own, end) for end in ends] for ends, own in zip(self.ends, starts, strict=True))
        return _SourceTexts(tuple(texts), tuple(ends))


def _prepare_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[_SourceTexts, BatchEncoding]:
    """Return texts in which a tokenizer splits at every blank and finds none of its special tokens, and its tokens.

    Unigram vocabularies match "</s>" and the like in any text, so a space breaks them up; DataError if that fails.
    """
    ends = tuple([word.end() for word in _WORD.finditer(text)] for text in texts)
    source = _SourceTexts(tuple(_BLANK.sub(" ", text) for text in texts), ends)
    encoding = _tokenised(tokenizer, source.texts)
    typed = _typed_special_tokens(tokenizer, encoding)
    if typed:
        source = source.spaced([(part, start) for part, start, _ in typed])
        encoding = _tokenised(tokenizer, source.texts)
    for part, start, end in _typed_special_tokens(tokenizer, encoding) if typed else ():
        name = source.texts[part][start:end]
        raise DataError(f"The text has {name!r}, which the model reads as one of its special tokens; remove it.")
    return source, encoding


def _typed_special_tokens(tokenizer: PreTrainedTokenizerBase, encoding: BatchEncoding) -> list[tuple[int, int, int]]:
    """Return the places of special tokens that were typed in the text; the unknown token is not one of them."""
    special_ids = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    places = zip(encoding["input_ids"], _places(encoding), strict=True)
    return [(part, start, end) for token, (part, start, end) in places if token in special_ids and part is not None]


def _tokenised(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int | None = None
) -> BatchEncoding:
    with tokenizer_errors_as(DataError, "The model's tokenizer fails at this text"):
        encoding: BatchEncoding = tokenizer(
            *texts,
            split_special_tokens=True,
            return_special_tokens_mask=True,
            return_offsets_mapping=True,
            truncation=max_length is not None,
            max_length=max_length,
            verbose=False,
        )
    return encoding


@contextmanager
def tokenizer_errors_as(kind: type[DistillError], words: str) -> Iterator[None]:
    """Convert any failure of a tokenizer in the block to an error of this kind: `words`, the cause, the next step."""
    try:
        yield
    except BaseException as error:  # Rust panics are no Exception, and their class cannot be imported
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{words} ({error!s:.200}); repair the tokenizer's files, or choose another model.") from error


def _places(encoding: BatchEncoding) -> list[tuple[int | None, int, int]]:
    """Return each token's text (0 or 1, None for special tokens) and its begin and end there."""
    parts = zip(encoding.sequence_ids(), encoding["offset_mapping"], encoding["special_tokens_mask"], strict=True)
    return [(None if special else part, start, end) for part, (start, end), special in parts]


def written_words(text: str, text_pair: str | None = None) -> tuple[str, ...]:
    """Return the words of a text, or of both texts of a pair, as they are written."""
    return tuple(word for part in (text, text_pair or "") for word in _WORD.findall(part))


def visible_text(text: str) -> str:
    """Return text without surrounding blanks; if nothing visible is left, a symbol or the characters' code points."""
    bare = text.strip()
    if any(map(str.isprintable, bare)):
        return bare
    return " ".join(f"U+{ord(letter):04X}" for letter in bare) or BLANK


def _shown(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str], encoding: BatchEncoding) -> tuple[str, ...]:
    """Return the tokens for display: bytes decoded, without the marks of a word's start or continuation.

    A byte of a character that is split between tokens becomes "\ufffd". Special tokens are unchanged.
    """
    core: Any = tokenizer.backend_tokenizer
    by_bytes = "ByteLevel" in str(core.pre_tokenizer)
    mark = getattr(core.model, "continuing_subword_prefix", None)
    texts: list[str] = []
    before: object = None
    parts = zip(encoding.sequence_ids(), encoding.word_ids(), strict=True)
    for token, word, special in zip(tokens, parts, encoding["special_tokens_mask"], strict=True):
        if special:
            texts.append(token)
        elif by_bytes and all(letter in _BYTES for letter in token):
            texts.append(visible_text(bytes(_BYTES[letter] for letter in token).decode("utf-8", "replace")))
        elif mark:
            texts.append((token.removeprefix(mark) if word == before else token) or token)
        else:
            texts.append(visible_text(token.replace("▁", " ")))
        before = word
    return tuple(texts)


def _check_filled(text: str, text_pair: str | None) -> None:
    """Raise DataError for a blank text, naming which one of a pair."""
    if not text.strip() and not (text_pair or "").strip():
        raise DataError("There is no text to explain; type at least one word.")
    for part, place in ((text, "first"), (text_pair, "second")):
        if part is not None and not part.strip():
            raise DataError(f"The {place} text is empty; type at least one word.")


def check_text(text: str, text_pair: str | None = None) -> None:
    """Raise DataError for a typed text without a letter or a digit, in which there is nothing to explain."""
    _check_filled(text, text_pair)
    for part in (text,) if text_pair is None else (text, text_pair):
        if any("\ud800" <= character <= "\udfff" for character in part):
            raise DataError("The text is not valid UTF-8; check its encoding.")
        if not any(character.isalnum() for character in part):
            raise DataError("There is no word in this text, only marks; type at least one word.")


def encode_all(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int = 128) -> list[Encoded]:
    """Tokenise examples one by one, in order; DataError naming a row that cannot be used."""
    rows = []
    for example in examples:
        try:
            rows.append(encode(tokenizer, example.text, example.text_pair, max_length))
        except DataError as error:
            raise DataError(f"Row {example.index + 1}: {error}") from error
    return rows


def collate(rows: Sequence[Encoded], pad_id: int, width: int | None = None) -> Inputs:
    """Stack rows into one batch, padded on the right to `width` tokens, by default to the longest row."""
    width = width or max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    special = torch.ones((len(rows), width), dtype=torch.bool)
    types = torch.zeros_like(mask) if rows[0].types is not None else None
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids)
        mask[index, :length] = 1
        special[index, :length] = torch.tensor(row.special)
        if types is not None and row.types is not None:
            types[index, :length] = torch.tensor(row.types)
    return Inputs(ids, mask, types, special)


def length_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Divide all row numbers into batches of similar length, batches and rows in random order.

    Rows are shuffled, cut into pools of 50 batches, each pool sorted by length and sliced, and the
    slices shuffled: every row occurs once, padding is small, and the order stays random.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pool = batch_size * 50
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[at] for at in shuffled]
