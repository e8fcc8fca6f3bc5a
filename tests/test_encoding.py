"""Tokens, words, truncation, padding and batches of similar length."""

import pytest
import torch
from transformers import AutoTokenizer

from distill_core.catalogue import BUNDLE
from distill_core.data import Example, load_split
from distill_core.encoding import check_text, collate, encode, encode_all, length_batches
from distill_core.errors import ConfigError, DataError
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def test_a_pair_keeps_segments_words_and_special_tokens() -> None:
    row = encode(TOKENIZER, "a good films", "boring plot")
    assert row.tokens == ("[CLS]", "a", "good", "film", "##s", "[SEP]", "boring", "plot", "[SEP]")
    assert row.types == (0, 0, 0, 0, 0, 0, 1, 1, 1)
    assert row.words == (None, 0, 1, 2, 2, None, 3, 4, None)
    assert row.special == (True, False, False, False, False, True, False, False, True)
    assert row.left_out == 0


def test_truncation_says_how_much_was_left_out() -> None:
    row = encode(TOKENIZER, "good " * 30, max_length=10)
    assert len(row.ids) == 10
    assert row.left_out == 22
    assert encode(TOKENIZER, "good " * 8, max_length=10).left_out == 0


@pytest.mark.parametrize("length", [-5, 0, 2])
def test_a_length_without_room_for_a_word_is_refused(length: int) -> None:
    with pytest.raises(ConfigError, match=f"max_length is {length}; wanted at least 3"):
        encode(TOKENIZER, "good film", max_length=length)


@pytest.mark.parametrize(("text", "pair"), [("", None), ("  \t\n", None), ("good", " ")])
def test_blank_text_is_refused_in_words(text: str, pair: str | None) -> None:
    with pytest.raises(DataError, match="no text to explain"):
        encode(TOKENIZER, text, pair)


@pytest.mark.parametrize("text", ["?!", "--- ...", "\u200b", "\u2603"])
def test_text_of_only_marks_is_refused_for_explaining(text: str) -> None:
    with pytest.raises(DataError, match="no word in this text"):
        check_text(text)
    check_text("7/10")
    check_text("好")


def test_encode_all_names_the_row() -> None:
    with pytest.raises(DataError, match="Row 2"):
        encode_all(TOKENIZER, [Example(0, "good", None, 1), Example(1, " ", None, 1)])


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"])
def test_a_control_token_that_was_typed_is_plain_text(token: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    row = encode(tokenizer, f"good {token} film", f"bad {token}")
    inside = [one for one, special in zip(row.tokens, row.special, strict=True) if not special]
    assert "".join(inside).replace("##", "") == f"good{token}filmbad{token}".lower()
    assert [one for one, special in zip(row.tokens, row.special, strict=True) if special] == ["[CLS]", "[SEP]", "[SEP]"]
    assert encode(tokenizer, f"{token} " * 20, max_length=10).left_out > 50


def test_ordinary_text_is_cut_as_the_tokenizer_alone_does() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    for example in load_split("sst2", "validation", "bundled").examples[:50]:
        row, plain = encode(tokenizer, example.text), tokenizer(example.text)
        assert list(row.ids) == plain["input_ids"]
        assert [word is None for word in row.words] == [word is None for word in plain.word_ids()]
        assert [word for word in row.words if word is not None] == plain.word_ids()[1:-1]


def test_batches_pad_on_the_right_and_select_cuts_padding() -> None:
    inputs = collate([encode(TOKENIZER, "good"), encode(TOKENIZER, "a good film , never boring")], pad_id=0)
    assert inputs.attention_mask.tolist() == [[1] * 3 + [0] * 5, [1] * 8]
    assert inputs.special[0].tolist() == [True, False, True] + [True] * 5
    only = inputs.select(torch.tensor([0, 0]))
    assert only.input_ids.shape == (2, 3)


def test_length_batches_hold_every_row_once_and_pad_little() -> None:
    lengths = [5 + (7 * index) % 40 for index in range(1000)]
    batches = length_batches(lengths, 32, torch.Generator().manual_seed(0))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)
    assert batches != length_batches(lengths, 32, torch.Generator().manual_seed(1))
