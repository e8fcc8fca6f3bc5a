"""A view's address: what it may say."""

import pytest

from distill_core.data.datasets import Dataset, Example
from distill_core.errors import ConfigError
from distill_core.explanation.request import ExplanationRequest
from pages.components.explain.view_state import View, from_address

DATASET = Dataset(
    "sst2", "validation", "here", (Example(0, "a film", None, 1), Example(1, "a plot", None, 0)), "digest"
)
FIRST = View(
    ExplanationRequest(task="sst2", text="a film", teacher="bundled/sst2-teacher", students=("bundled/sst2-teacher",)),
    0,
)


def test_a_number_of_an_example_opens_it() -> None:
    assert from_address({"example": ["2"]}, FIRST, DATASET).request.text == "a plot"


@pytest.mark.parametrize("number", ["0", "3", "-1", "1.0", "²", "", "00000000199999", "1" * 5009])
def test_a_number_that_is_of_no_example_is_refused(number: str) -> None:
    with pytest.raises(ConfigError, match="there are examples 1 to 2"):
        from_address({"example": [number]}, FIRST, DATASET)
