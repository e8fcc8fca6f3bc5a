"""Tokens, words, truncation, padding and batches of similar length."""

import json

import pytest
import torch
from streamlit.runtime.scriptrunner_utils.exceptions import StopException
from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import NFKC
from tokenizers.pre_tokenizers import Split
from transformers import AutoTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast

from distill_core.attribution.reduce import word_groups
from distill_core.catalog.catalog import BUNDLE
from distill_core.data.datasets import Example, load_split
from distill_core.errors import ConfigError, DataError
from distill_core.models.tokenization import (
    check_text,
    collate,
    encode,
    encode_all,
    length_batches,
    tokenizer_errors_as,
    visible_text,
    written_words,
)
from tests.support.tiny import tiny_tokenizer
from tests.support.tiny_families import FAMILIES

TOKENIZER = tiny_tokenizer()
SORTS = ("bert", "roberta", "albert")  # word pieces, bytes, Unigram
each_sort = pytest.mark.parametrize("sort", SORTS)


def joined(sort: str, text: str, text_pair: str | None = None) -> dict[str, str]:
    """Return the text's words as written, each with its pieces as shown."""
    row = encode(FAMILIES[sort].tokenizer_kind.tokenizer(), text, text_pair)
    found = dict.fromkeys(written_words(text, text_pair), "")
    for shown, word in zip(row.shown, row.words, strict=True):
        if word is not None:
            found[written_words(text, text_pair)[word]] += shown
    return found


@each_sort
def test_a_word_is_a_stretch_between_blanks_for_every_tokenizer(sort: str) -> None:
    for blank in (" ", "\t", "\r\n", "\u00a0", "\u2003", "\u2028", "\u3000", "   "):
        text = f"{blank}the actings{blank}was, slowly!"
        assert written_words(text, "not good.") == ("the", "actings", "was,", "slowly!", "not", "good.")
        found = encode(FAMILIES[sort].tokenizer_kind.tokenizer(), text, "not good.")
        assert sorted({word for word in found.words if word is not None}) == list(range(6))
        for word in range(6):
            assert {found.segments[at] for at, own in enumerate(found.words) if own == word} == {int(word > 3)}


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u00a0", "\u2003", "\u2028", "\u202f", "\u3000"])
def test_deberta_splits_at_every_blank_and_loses_none(blank: str) -> None:
    pieces = [(mark, 0.0) for mark in FAMILIES["deberta-v3"].tokenizer_kind.special_tokens]
    pieces += [(f"▁{word}", -3.0) for word in ("good", "film")] + [("film", -5.0)]
    row = encode(DebertaV2Tokenizer(vocab=pieces, unk_id=3), f"good{blank}film{blank}{blank}bad{blank}")
    assert row.tokens[:3] == ("[CLS]", "▁good", "▁film")
    assert row.words[:3] == (None, 0, 1)
    assert row.unread == (2,)


def test_a_blank_missing_from_the_vocabulary_is_not_an_unknown_word() -> None:
    core = json.loads(FAMILIES["albert"].tokenizer_kind.tokenizer().backend_tokenizer.to_str())
    core["model"]["vocab"] = [piece for piece in core["model"]["vocab"] if piece[0] != "▁"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(core)), unk_token="<unk>")
    row = encode(tokenizer, "good  film")
    assert row.tokens[1:-1] == ("▁good", "<unk>", "▁film")
    assert row.unread == ()


@each_sort
def test_the_pieces_of_a_word_join_to_the_word(sort: str) -> None:
    text = "the actings was slowly, good!"
    assert joined(sort, text, "loves music") == {word: word for word in (*text.split(), "loves", "music")}


def test_control_characters_do_not_split_words() -> None:
    bert = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    for control in "\x0b\x0c\x1c\x1d\x1e\x1f\x85\u200b\u202e":
        assert written_words(f"a{control}b c") == (f"a{control}b", "c")
        assert encode(bert, f"a{control}b c").words == (None, 0, 1, None)


def test_a_piece_of_blanks_belongs_to_the_next_word() -> None:
    row = encode(FAMILIES["roberta"].tokenizer_kind.tokenizer(), "the  film\n ")
    assert row.tokens == ("<s>", "the", "Ġ", "Ġfilm", "Ġ", "Ġ", "</s>")
    assert row.words == (None, 0, 1, 1, 1, 1, None)  # after the last word, with the last
    assert row.shown == ("<s>", "the", "␣", "film", "␣", "␣", "</s>")


def test_byte_pieces_are_shown_as_text_and_partial_characters_as_placeholders() -> None:
    assert joined("roberta", "the café")["café"] == "␣caf��"  # a lone blank, letters, and two pieces of a byte each
    tokenizer = FAMILIES["roberta"].tokenizer_kind.tokenizer()
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = [["Ã", "©"], ["Ġ", "Ã©"], ["ð", "Ł"], ["Ġ", "ðŁ"]]
    core["model"]["merges"] += merges
    core["model"]["vocab"] |= {"".join(pair): 400 + at for at, pair in enumerate(merges)}
    row = encode(PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(core))), "é é 😀")
    assert row.tokens[1:-1] == ("Ã©", "ĠÃ©", "ĠðŁ", "ĺ", "Ģ")
    assert row.shown[1:-1] == ("é", "é", "�", "�", "�")


def test_a_typed_mark_is_text() -> None:
    bert = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    assert encode(bert, "C## ##ing").shown[1:-1] == ("c", "#", "#", "#", "#", "ing")
    assert joined("roberta", "Ġgood ▁bad")["Ġgood"].endswith("good")
    assert encode(FAMILIES["bert"].tokenizer_kind.tokenizer(), "good").shown == ("[CLS]", "good", "[SEP]")


def test_invisible_characters_are_named() -> None:
    assert [visible_text(text) for text in (" good ", " ", "\n", "\u200b", "\u200b\u202e", "a\u200b")] == [
        "good", "␣", "␣", "U+200B", "U+200B U+202E", "a\u200b",
    ]  # fmt: skip


def test_words_missing_from_the_vocabulary_are_named() -> None:
    bert = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    text = "good \u200b film \U0001f9ff !"
    assert [written_words(text)[word] for word in encode(bert, text).unread] == ["\u200b", "\U0001f9ff"]
    assert encode(FAMILIES["roberta"].tokenizer_kind.tokenizer(), text).unread == ()
    assert encode(bert, "good film " * 20, max_length=10).unread == ()  # cut off, not unreadable


def test_a_pair_has_segments_words_and_special_tokens() -> None:
    row = encode(TOKENIZER, "a good films", "boring plot")
    assert row.tokens == ("[CLS]", "a", "good", "film", "##s", "[SEP]", "boring", "plot", "[SEP]")
    assert row.types == (0, 0, 0, 0, 0, 0, 1, 1, 1)
    assert row.words == (None, 0, 1, 2, 2, None, 3, 4, None)
    assert row.special == (True, False, False, False, False, True, False, False, True)
    assert row.left_out == 0


def test_a_word_truncated_in_its_middle_counts_as_truncated() -> None:
    row = encode(TOKENIZER, "good films was bad", max_length=4)
    assert (row.tokens[1:-1], row.left_out, row.cut) == (("good", "film"), 3, (1, 2, 3))
    pair = encode(TOKENIZER, "good films", "films good bad", max_length=7)  # the longer text is cut first
    assert [pair.tokens[at] for at in (1, 2, 4, 5)] == ["good", "film", "film", "##s"]
    assert pair.cut == (1, 3, 4)


def test_truncation_reports_how_much_was_left_out() -> None:
    row = encode(TOKENIZER, "good " * 30, max_length=10)
    assert len(row.ids) == 10
    assert row.left_out == 22
    assert row.cut == tuple(range(8, 30))
    assert encode(TOKENIZER, "good " * 8, max_length=10).left_out == 0


@pytest.mark.parametrize("length", [-5, 0, 2])
def test_a_length_without_room_for_a_word_is_refused(length: int) -> None:
    with pytest.raises(ConfigError, match=f"max_length is {length}; wanted at least 3"):
        encode(TOKENIZER, "good film", max_length=length)


@pytest.mark.parametrize("length", [3, 4])
def test_a_length_without_room_for_more_than_special_tokens_is_refused(length: int) -> None:
    tokenizer = FAMILIES["roberta"].tokenizer_kind.tokenizer()
    with pytest.raises(ConfigError, match=rf"max_length is {length}; wanted at least 5: .* and 4 special tokens"):
        encode(tokenizer, "a good film", "a bad film", length)
    row = encode(tokenizer, "a good film", "a bad film", 5)
    assert (len(row.ids), row.left_out) == (5, 5)


@pytest.mark.parametrize(
    ("text", "pair", "words"),
    [
        ("", None, "no text to explain"),
        ("  \t\n", None, "no text to explain"),
        (" ", "", "no text to explain"),
        ("good", " ", "second text is empty"),
        ("", "good", "first text is empty"),
    ],
)
def test_blank_text_is_refused(text: str, pair: str | None, words: str) -> None:
    for refused in (encode, lambda _, *texts: check_text(*texts)):
        with pytest.raises(DataError, match=words):
            refused(TOKENIZER, text, pair)


@pytest.mark.parametrize("text", ["?!", "--- ...", "\u200b", "\u2603"])
def test_text_without_words_is_refused_for_explaining(text: str) -> None:
    with pytest.raises(DataError, match="no word in this text"):
        check_text(text)
    check_text("7/10")
    check_text("好")


def test_encode_all_names_the_row() -> None:
    with pytest.raises(DataError, match="Row 2"):
        encode_all(TOKENIZER, [Example(0, "good", None, 1), Example(1, " ", None, 1)])


def test_a_tokenizer_that_fails_or_panics_is_named_as_the_cause() -> None:
    panics, lacks = tiny_tokenizer(), tiny_tokenizer()
    panics.backend_tokenizer.pre_tokenizer = Split(Regex("^(a+)+$"), "isolated")
    lacks.backend_tokenizer.model.unk_token = "[NONE]"
    for tokenizer, text, cause in ((panics, "a" * 40 + "!", "retry-limit"), (lacks, "xylophone", "Missing")):
        encode(tokenizer, "good")
        with pytest.raises(
            DataError, match=rf"tokenizer fails at this text \(.*{cause}.*\); repair the tokenizer's files"
        ):
            encode(tokenizer, text)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit, StopException])
def test_interrupts_are_not_reported_as_tokenizer_errors(ending: type[BaseException]) -> None:
    with pytest.raises(ending), tokenizer_errors_as(DataError, "It fails"):
        raise ending


@pytest.mark.parametrize("token", ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"])
def test_a_typed_control_token_is_plain_text(token: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    row = encode(tokenizer, f"good {token} film", f"bad {token}")
    inside = [one for one, special in zip(row.tokens, row.special, strict=True) if not special]
    assert "".join(inside).replace("##", "") == f"good{token}filmbad{token}".lower()
    assert [one for one, special in zip(row.tokens, row.special, strict=True) if special] == ["[CLS]", "[SEP]", "[SEP]"]
    assert encode(tokenizer, f"{token} " * 20, max_length=10).left_out > 50


@pytest.mark.parametrize(
    ("sort", "typed"),
    [("xlm-roberta", ("<s>", "</s>", "<pad>", "<mask>", "＜pad＞")), ("albert", ("<pad>", "[CLS]", "[SEP]", "[MASK]"))],
)
def test_a_control_token_that_is_a_piece_of_any_text_is_plain_text(sort: str, typed: tuple[str, ...]) -> None:
    tokenizer = FAMILIES[sort].tokenizer_kind.tokenizer()
    tokenizer.backend_tokenizer.normalizer = NFKC()
    marks = set(tokenizer.all_special_tokens) - {tokenizer.unk_token}
    for mark in typed:
        text, pair = f"good {mark}{mark} film{mark}", f"{mark} bad"
        row = encode(tokenizer, text, pair)
        assert [token in marks for token in row.tokens] == list(row.special)
        first = dict(zip(reversed(row.words), reversed(row.tokens), strict=True))
        assert [first[word] for word in range(5)] == ["▁good", "▁", "▁film", "▁", "▁bad"]
        assert [written_words(text, pair)[word] for word in row.unread] == [f"{mark}{mark}", f"film{mark}", mark]


def test_a_control_token_that_cannot_be_broken_up_is_refused() -> None:
    tokenizer = FAMILIES["xlm-roberta"].tokenizer_kind.tokenizer()
    tokenizer.pad_token = "!"
    with pytest.raises(DataError, match="The text has '!', which the model reads as one of its special tokens"):
        encode(tokenizer, "good film!")
    assert encode(tokenizer, "good film").special == (True, False, False, True)


def test_ordinary_text_is_split_as_by_the_tokenizer_alone() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BUNDLE / "tokenizer", local_files_only=True)
    for example in load_split("sst2", "validation", "bundled").examples[:50]:
        row, plain = encode(tokenizer, example.text), tokenizer(example.text)
        assert list(row.ids) == plain["input_ids"]
        assert [word is None for word in row.words] == [word is None for word in plain.word_ids()]
        pieces = ["".join(row.shown[at] for at in group) for group in word_groups(row.words)[1:-1]]
        assert pieces == [word.lower() for word in example.text.split()]


def test_batches_pad_on_the_right_and_select_cuts_padding() -> None:
    inputs = collate([encode(TOKENIZER, "good"), encode(TOKENIZER, "a good film , never boring")], pad_id=0)
    assert inputs.attention_mask.tolist() == [[1] * 3 + [0] * 5, [1] * 8]
    assert inputs.special[0].tolist() == [True, False, True] + [True] * 5
    only = inputs.select(torch.tensor([0, 0]))
    assert only.input_ids.shape == (2, 3)


def test_length_batches_contain_every_row_once_with_little_padding() -> None:
    lengths = [5 + (7 * index) % 40 for index in range(1000)]
    batches = length_batches(lengths, 32, torch.Generator().manual_seed(0))
    assert sorted(row for batch in batches for row in batch) == list(range(1000))
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)
    assert padded < 1.05 * sum(lengths)
    assert batches != length_batches(lengths, 32, torch.Generator().manual_seed(1))
