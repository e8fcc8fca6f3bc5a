"""Home shows an explained sentence for real, what is training, and links that lead somewhere."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.config.run_config import RunConfig
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from tests.support.opening import open_home

ROOT = Path(__file__).parent.parent.parent


def test_an_explained_example_and_where_to_go(own_home: Path) -> None:
    page = open_home(own_home)
    assert not page.exception
    assert not page.error
    html = "".join(block.value for block in page.html)
    assert "dl-map" in html
    assert "dl-agreement" in html
    links = [link.proto for link in page.get("page_link")]
    assert [link.label for link in links if not link.page] == ["**Distillation Lens**"]
    example = next(link for link in links if link.label == "Open in Explain")
    assert example.page == "explain"
    assert "teacher=" in example.query_string
    assert "text=" in example.query_string
    assert any("Nothing is training" in caption.value for caption in page.caption)


def test_a_waiting_run_is_listed(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "claim", lambda *_: None)  # no device is free
    enqueue(Store(), RunConfig(name="my <b>run</b>", steps=200))
    page = open_home(own_home)
    assert not page.exception
    (bar,) = page.get("progress")
    assert bar.proto.text.replace("\\", "") == "my <b>run</b>: queued, step 0 of 200"
    assert not any("Nothing is training" in caption.value for caption in page.caption)


def test_no_model_is_a_message_and_the_rest_of_the_page_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.components import resources

    monkeypatch.setattr(resources, "list_models", list)
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert not page.exception
    assert "There is no model for task sst2" in page.error[0].value
    assert [header.value for header in page.subheader] == ["Training now", "Next steps"]
