"""What all visitors share is kept by what it is, not by where it lies."""

import json
from pathlib import Path

import pytest

from distill_core.catalog.catalog import find_model
from distill_core.errors import ModelError
from pages.components.resources import model_source
from tests.support.tiny import tiny_folder


def test_a_model_whose_config_was_mended_is_opened_afresh(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    first = model_source(find_model(str(folder)))
    assert first.open().network.config.hidden_act == "gelu"
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "relu"}))
    assert model_source(find_model(str(folder))).open().network.config.hidden_act == "relu"
    with pytest.raises(ModelError, match="has changed on disk since it was looked up; load the page again"):
        first.open()
