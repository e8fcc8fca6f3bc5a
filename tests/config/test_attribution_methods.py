"""The list of attribution methods: every entry can be built, is documented, and keeps its cached maps."""

import re
from pathlib import Path

import pytest

from distill_core.attribution import build_method
from distill_core.config.attribution_methods import (
    ATTRIBUTION_METHODS,
    BASELINES,
    check_output,
    find_attribution_method,
    methods_table,
)
from distill_core.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "attribution.md"
CACHED_IN_0_1 = ("integrated_gradients", "gradient", "gradient_x_input", "occlusion", "occlusion_word")


@pytest.mark.parametrize("key", ATTRIBUTION_METHODS)
def test_an_entry_builds_the_method_of_its_key(key: str) -> None:
    spec = ATTRIBUTION_METHODS[key]
    assert build_method(key).key == spec.key == key
    assert spec.default_baseline in (None, *BASELINES)
    for words in (spec.idea, spec.limits):
        assert re.fullmatch(r"[A-Z].*\.", words)


@pytest.mark.parametrize("key", CACHED_IN_0_1)
def test_maps_cached_by_version_0_1_are_found(key: str) -> None:
    assert ATTRIBUTION_METHODS[key].cache_key == repr(build_method(key))  # what its keys were made of


def test_cache_keys_differ() -> None:
    assert len({spec.cache_key for spec in ATTRIBUTION_METHODS.values()}) == len(ATTRIBUTION_METHODS)


def test_the_page_of_the_documentation_has_the_table_of_the_entries() -> None:
    table = methods_table(ATTRIBUTION_METHODS.values())
    assert table in PAGE.read_text(encoding="utf-8"), f"Put this table into docs/attribution.md:\n{table}"


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"Unknown attribution method 'magic'; choose one of: integrated_gradients"):
        find_attribution_method("magic")
    with pytest.raises(ConfigError, match="A regression model has no log probability; choose logit"):
        check_output("log_probability", 1)
