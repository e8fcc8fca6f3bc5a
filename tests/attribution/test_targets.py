"""Choosing the classes to explain."""

import pytest
import torch

from distill_core.attribution.targets import choose_targets
from distill_core.errors import ConfigError

LOGITS = torch.tensor([[0.1, 0.9, 0.3], [2.0, 0.0, 1.0]])
LABELS = ("no", "yes", "maybe")


def test_predicted_all_and_named_classes() -> None:
    assert choose_targets("pred", LABELS, LOGITS).tolist() == [[1], [0]]
    assert choose_targets("all", LABELS, LOGITS).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert choose_targets("maybe", LABELS, LOGITS).tolist() == [[2], [2]]


def test_an_unknown_class_names_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="Unknown target 'perhaps'; choose one of: pred, all, no, yes, maybe"):
        choose_targets("perhaps", LABELS, LOGITS)
