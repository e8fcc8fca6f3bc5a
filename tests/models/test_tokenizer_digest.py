"""A digest tells whether two tokenizers split text alike."""

from pathlib import Path

from tokenizers.normalizers import Replace, Sequence
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from distill_core.models.tokenizer_digest import loses_capitals, same_tokens, token_digest
from tests.support.tiny import WORDS, tiny_model, tiny_tokenizer


def test_the_same_tokenizer_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    one, other = tiny_model(tmp_path / "a", seed=1), tiny_model(tmp_path / "b", seed=2, layers=1)
    assert same_tokens(one, other)
    assert token_digest(one.tokenizer) == token_digest(tiny_tokenizer())


def test_the_same_vocabulary_with_another_casing_differs() -> None:
    cased = tiny_tokenizer()
    cased.backend_tokenizer.normalizer = Sequence([])
    assert token_digest(cased) != token_digest(tiny_tokenizer())


def test_tokenizers_that_differ_in_a_rare_character_or_a_separator_differ() -> None:
    rare, pairs = tiny_tokenizer(), tiny_tokenizer()
    rare.backend_tokenizer.normalizer = Sequence([rare.backend_tokenizer.normalizer, Replace("½", "good")])
    pairs.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    assert len({token_digest(tokenizer) for tokenizer in (tiny_tokenizer(), rare, pairs)}) == 3


def test_a_saved_vocabulary_file_gives_the_same_tokens(tmp_path: Path) -> None:
    for name, words in (("a", WORDS), ("b", WORDS), ("c", [*WORDS[:-2], WORDS[-1], WORDS[-2]])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_text("\n".join(words) + "\n")
        (tmp_path / name / "config.json").write_text('{"model_type": "bert"}')
    one, same, swapped = (token_digest(AutoTokenizer.from_pretrained(tmp_path / name)) for name in "abc")
    assert one == same
    assert one != swapped


def test_lower_casing_with_a_cased_vocabulary_is_detected(tmp_path: Path) -> None:
    capitals = [f"W{first}{second}" for first in "abcdefghijkl" for second in "abcdefghijkl"]
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "Good", *capitals]) + "\n")
    assert loses_capitals(AutoTokenizer.from_pretrained(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert not loses_capitals(AutoTokenizer.from_pretrained(tmp_path))
    assert not loses_capitals(tiny_tokenizer())
