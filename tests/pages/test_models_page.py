"""The Models page through the app's entry: the list, one model's card, and bringing a folder."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from streamlit.testing.v1 import AppTest

from distill_core.catalog.catalog import bundled_models
from distill_core.catalog.user_models import list_user_models
from distill_core.paths import ASSETS
from distill_core.settings import read_settings
from distill_core.storage.model_folder import WEIGHTS
from pages.components.models.add_model import FOLDER, imports
from tests.support.opening import open_page
from tests.support.small_hub import SmallHub, serving
from tests.support.tiny import tiny_folder
from tests.support.waiting import until

ADDING_SECONDS = 60.0


@pytest.fixture(autouse=True)
def fresh_imports() -> None:
    """Forget what another test's server has imported."""
    imports.clear()


def opened(model: str | None = None) -> AppTest:
    return sound(open_page("models.py", {} if model is None else {"model": model}))


def sound(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].value
    return page


def html(page: AppTest) -> str:
    return "".join(block.value for block in page.html)


def add_folder(page: AppTest, folder: Path) -> AppTest:
    page.segmented_control(key="models.where").set_value(FOLDER).run()
    page.text_input(key="models.folder").set_value(str(folder)).run()
    page.button(key="models.add").click().run()
    return ended(page)


def ended(page: AppTest) -> AppTest:
    job = imports().job
    assert job is not None
    assert job.wait(ADDING_SECONDS)
    return sound(page.run())


def test_every_bundled_model_is_listed() -> None:
    page = opened()
    shown = page.dataframe[0].value
    assert list(shown["Id"]) == [f"bundled/{name}" for name in bundled_models()]
    assert set(shown["Architecture"]) == {"bert"}
    page.selectbox(key="models.of_task").set_value("stsb").run()
    assert set(sound(page).dataframe[0].value["Task"]) == {"STS-B"}
    page.text_input(key="models.search").set_value("nothing of this name").run()
    assert not page.dataframe


def test_a_narrow_window_says_that_the_table_moves_sideways() -> None:
    page = opened()
    assert "Swipe the table sideways" in html(page)
    style = (ASSETS / "style.css").read_text()
    wide, narrow = style.split(".stElementContainer:has(.dl-scroll-hint) { display: none; }")
    assert "dl-scroll-hint" not in wide
    assert narrow.index("max-width: 640px") < narrow.index(".dl-scroll-hint) { display: block; }")


def test_a_model_has_its_card_and_its_address() -> None:
    page = opened("bundled/sst2-kd")
    assert "<code>bundled/sst2-kd</code>" in html(page)
    assert "17.4 M" in html(page)
    assert not [button for button in page.button if button.key == "models.remove"]
    assert "Unknown model" in opened("run/<b>none</b>").error[0].value


def test_a_folder_is_checked_added_and_removed(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "<b>mine</b>")
    page = add_folder(opened(), folder)
    assert page.success, [one.value for one in page.error]
    assert "&lt;b&gt;" in html(page) or "<b>mine" not in html(page)
    for check in ("weights", "architecture", "loads", "answers"):
        assert f"<b>{check.capitalize()}:</b>" in html(page)
    assert "was added from the folder" in page.success[0].value
    assert page.text_input(key="models.folder").value == ""
    assert str(folder) in list(page.dataframe[0].value["Id"])
    assert [one.id for one in list_user_models()] == [str(folder)]
    page.button(key="models.dismiss").click().run()
    assert not page.success
    page = opened(str(folder))
    page.button(key="models.remove").click().run()
    assert list_user_models() == []
    assert str(folder) not in list(sound(page).dataframe[0].value["Id"])
    assert (folder / WEIGHTS).is_file(), "a folder of one's own is never deleted"


def test_a_folder_that_is_none_says_what_is_wanted(tmp_path: Path) -> None:
    page = add_folder(opened(), tmp_path)
    assert "is a folder without config" in page.error[0].value
    assert list_user_models() == []


def test_a_pickle_is_converted_after_consent_only(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "old")
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    (folder / "distill.json").unlink()
    page = add_folder(opened(), folder)
    assert "pytorch" in page.warning[0].value
    assert list_user_models() == []
    page.button(key="models.convert").click().run()
    page = ended(page)
    assert page.success, [one.value for one in page.error]
    assert list_user_models()[0].id.startswith("converted/old-")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """Return a small hub on this machine, the one this process asks."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")
    folder = tiny_folder(tmp_path / "published")
    (folder / "distill.json").unlink()
    with serving("org/tiny", folder) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


def test_a_model_of_the_hub_is_fetched_with_progress_cancelled_and_fetched_again(hub: SmallHub) -> None:
    hub.pause = 0.2
    page = opened()
    page.text_input(key="models.repo").set_value("org/tiny").run()
    page.button(key="models.add").click().run()
    job = imports().job
    assert job is not None
    assert until(lambda: any("model.safetensors" in getattr(event, "what", "") for event in job.events))
    page.button(key="models.cancel").click().run()
    page = ended(page)
    assert "Cancelled" in page.info[0].value
    assert list_user_models() == []
    hub.pause = 0.0
    page.button(key="models.add").click().run()
    page = ended(page)
    assert page.success, [one.value for one in page.error]
    assert list_user_models()[0].id.startswith("hub/org/tiny@")


def test_a_model_the_hub_does_not_have_is_told(hub: SmallHub) -> None:
    assert hub.endpoint
    page = opened()
    page.text_input(key="models.repo").set_value("org/<b>none</b>").run()
    page.button(key="models.add").click().run()
    assert "is not a valid id on the hub" in ended(page).error[0].value
    page.text_input(key="models.repo").set_value("org/none").run()
    page.button(key="models.add").click().run()
    assert "org/none" in ended(page).error[0].value


def test_the_memory_for_open_models_can_be_set() -> None:
    page = opened()
    page.number_input[0].set_value(700).run()
    assert read_settings().model_memory_mb == 700
    assert sound(opened()).number_input[0].value == 700
