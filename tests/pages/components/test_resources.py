"""What all visitors share is kept by what it is, not by where it lies."""

import json
from pathlib import Path

import pytest

from distill_core.catalog.catalog import find_model
from distill_core.errors import ModelError, StoreError
from distill_core.paths import home
from distill_core.runs.store import Store
from pages.components.resources import model_source, run_store
from tests.support.tiny import tiny_folder


def test_a_model_whose_config_was_mended_is_opened_afresh(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    first = model_source(find_model(str(folder)))
    assert first.open().network.config.hidden_act == "gelu"
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_act": "relu"}))
    assert model_source(find_model(str(folder))).open().network.config.hidden_act == "relu"
    with pytest.raises(ModelError, match="has changed on disk since it was looked up; try again"):
        first.open()


def test_all_visitors_share_one_store_until_its_file_is_damaged(store: Store) -> None:
    first = run_store()
    assert run_store() is first
    assert first.path == store.path == (home() / "runs.sqlite").resolve()
    for file in home().glob("runs.sqlite*"):
        if file.suffix in (".sqlite", ".sqlite-wal"):
            file.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match="damaged"):
        first.runs()
    fresh = run_store()
    assert fresh is not first
    assert fresh.runs() == []
    assert len(fresh.damaged) == 1
