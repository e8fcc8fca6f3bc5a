"""The pages only read the bundled models, so one unpacked copy serves all their tests."""

import pytest


@pytest.fixture(autouse=True)
def bundled_models(shared_bundle: None) -> None:
    """Share the unpacked bundle."""
