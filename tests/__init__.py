"""The tests; a failed assertion in tests.support is reported with its values, as in a test."""

import pytest

pytest.register_assert_rewrite("tests.support")
