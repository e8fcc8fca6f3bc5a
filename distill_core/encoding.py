"""Texts to token ids, and rows of ids to padded batches of similar length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill_core.data import Example
from distill_core.errors import ConfigError, DataError


@dataclass(frozen=True)
class Encoded:
    """One tokenised example, T tokens, unpadded.

    `special`: True at [CLS], [SEP] and the like. `words[t]`: running number of the word that piece t
    belongs to (counted through both segments), None at special tokens. `segments[t]`: 0 in the first text, 1 in
    the second, None at special tokens. `left_out`: tokens cut off.
    """

    ids: tuple[int, ...]
    types: tuple[int, ...] | None
    special: tuple[bool, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    tokens: tuple[str, ...]
    left_out: int


@dataclass(frozen=True)
class Inputs:
    """A batch padded on the right: what every network call takes, so that no caller can drop mask or segments."""

    input_ids: Int[Tensor, "batch token"]
    attention_mask: Int[Tensor, "batch token"]
    token_type_ids: Int[Tensor, "batch token"] | None
    special: Bool[Tensor, "batch token"]

    @property
    def mask(self) -> Bool[Tensor, "batch token"]:
        """True where there is a token, False at padding."""
        return self.attention_mask.bool()

    def to(self, device: torch.device | str) -> "Inputs":
        """Return the batch on `device`."""
        types = None if self.token_type_ids is None else self.token_type_ids.to(device)
        return Inputs(self.input_ids.to(device), self.attention_mask.to(device), types, self.special.to(device))

    def select(self, rows: Int[Tensor, " row"]) -> "Inputs":
        """Return the given rows (an index may repeat), padding columns that none of them needs cut off."""
        width = int(self.attention_mask[rows].sum(dim=1).max())
        types = None if self.token_type_ids is None else self.token_type_ids[rows, :width]
        return Inputs(
            self.input_ids[rows, :width], self.attention_mask[rows, :width], types, self.special[rows, :width]
        )


def encode(
    tokenizer: PreTrainedTokenizerBase, text: str, text_pair: str | None = None, max_length: int = 128
) -> Encoded:
    """Tokenise a text or a pair, cut to `max_length` tokens with special tokens.

    A text's own "[SEP]" is plain text: only the tokenizer's template sets special tokens.
    Raises DataError when the text is blank or nothing but special tokens would be left, ConfigError for a
    `max_length` that leaves no room for a word.
    """
    if max_length < 3:  # tokenizers raise below 0 and do not cut at all at 0
        raise ConfigError(f"max_length is {max_length}; wanted at least 3: a piece of a word and two special tokens.")
    if not text.strip() or (text_pair is not None and not text_pair.strip()):
        raise DataError("There is no text to explain; type at least one word.")
    plain: dict[str, Any] = {"text": text, "text_pair": text_pair, "split_special_tokens": True, "verbose": False}
    cut = tokenizer(**plain, truncation=True, max_length=max_length, return_special_tokens_mask=True)
    special = tuple(bool(flag) for flag in cut["special_tokens_mask"])
    if all(special):
        raise DataError("The text has no words the model can read (only blank or control characters).")
    left_out = 0
    if len(cut["input_ids"]) == max_length:
        left_out = len(tokenizer(**plain, truncation=False)["input_ids"]) - max_length
    numbers: dict[tuple[int | None, int | None], int] = {}
    words: list[int | None] = []
    for sequence, word, is_special in zip(cut.sequence_ids(), cut.word_ids(), special, strict=True):
        words.append(None if is_special else numbers.setdefault((sequence, word), len(numbers)))
    types = cut.get("token_type_ids")
    return Encoded(
        ids=tuple(cut["input_ids"]),
        types=tuple(types) if types is not None else None,
        special=special,
        words=tuple(words),
        segments=tuple(None if apart else part for part, apart in zip(cut.sequence_ids(), special, strict=True)),
        tokens=tuple(tokenizer.convert_ids_to_tokens(cut["input_ids"])),
        left_out=left_out,
    )


def check_text(text: str, text_pair: str | None = None) -> None:
    """Refuse, with DataError, a typed text in which there is nothing to explain: no letter and no digit."""
    for given in (text,) if text_pair is None else (text, text_pair):
        if not given.strip():
            raise DataError("There is no text to explain; type at least one word.")
        if any("\ud800" <= character <= "\udfff" for character in given):
            raise DataError("The text is not valid UTF-8; check how it was typed or passed on.")
        if not any(character.isalnum() for character in given):
            raise DataError("There is no word in this text, only marks; type at least one word.")


def encode_all(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int = 128) -> list[Encoded]:
    """Tokenise examples one by one, in order; DataError names the row that cannot be used."""
    rows = []
    for example in examples:
        try:
            rows.append(encode(tokenizer, example.text, example.text_pair, max_length))
        except DataError as error:
            raise DataError(f"Row {example.index + 1}: {error}") from error
    return rows


def collate(rows: Sequence[Encoded], pad_id: int) -> Inputs:
    """Stack rows into one batch, padded on the right to the longest of them."""
    width = max(len(row.ids) for row in rows)
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
    """Deal all row numbers into batches of similar length, batches and rows in random order.

    Rows are shuffled, cut into pools of 50 batches, each pool sorted by length and sliced, and the
    slices shuffled: every row comes once, padding is small, and the order stays random.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pool = batch_size * 50
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[at] for at in shuffled]
