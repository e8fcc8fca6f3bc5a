"""Reductions with numbers typed by hand."""

import torch

from distill_core.attribution.reduce import l2_norm, signed_sum, sum_words, unit_norm, word_groups, word_numbers
from distill_core.models.tokenization import encode
from tests.support.tiny import tiny_tokenizer

VALUES = torch.tensor([[[3.0, -4.0], [1.0, 1.0], [9.0, 9.0]]])
MASK = torch.tensor([[True, True, False]])


def test_signed_sum_and_norm_leave_padding_at_zero() -> None:
    assert signed_sum(VALUES, MASK).tolist() == [[-1.0, 2.0, 0.0]]
    torch.testing.assert_close(l2_norm(VALUES, MASK), torch.tensor([[5.0, 2.0**0.5, 0.0]]))


def test_unit_norm_scales_each_map_and_keeps_zeros() -> None:
    maps = torch.tensor([[3.0, -4.0], [0.0, 0.0], [0.0, 2.0]])
    torch.testing.assert_close(unit_norm(maps), torch.tensor([[0.6, -0.8], [0.0, 0.0], [0.0, 1.0]]))


def test_words_gather_their_pieces_and_specials_stay_alone() -> None:
    words = (None, 0, 1, 1, None, 2, 2, 2, None)
    assert word_groups(words) == [[0], [1], [2, 3], [4], [5, 6, 7], [8]]
    assert sum_words([1, 2, 3, 4, 5, 6, 7, 8, 9], words, (0, 1, 2)) == (2, 7, 21)


def test_a_word_without_a_piece_scores_nothing_and_one_not_wanted_is_left_out() -> None:
    assert sum_words([1, 2, 3, 4], (None, 0, 2, None), (1, 2)) == (0, 3)


def test_special_tokens_side_by_side_are_not_one_word() -> None:
    assert word_groups((None, None, 0)) == [[0], [1], [2]]


def test_word_numbers_are_stacked_with_minus_one() -> None:
    rows = [encode(tiny_tokenizer(), "slowly good"), encode(tiny_tokenizer(), "bad")]
    assert word_numbers(rows).tolist() == [[-1, 0, 0, 1, -1], [-1, 0, -1, -1, -1]]
