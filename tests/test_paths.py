"""The application's folder: where it is, and what is said when it cannot be used."""

from pathlib import Path

import pytest

from distill_core.errors import ConfigError
from distill_core.paths import home


def test_the_folder_is_made(own_home: Path) -> None:
    assert home() == own_home
    assert own_home.is_dir()


@pytest.mark.parametrize("ending", ["", "/below"])
def test_a_file_where_the_folder_should_be_is_named(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DISTILL_HOME", f"{tmp_path}/file{ending}")
    with pytest.raises(ConfigError, match=rf"{tmp_path}/file{ending}' cannot be used.*set DISTILL_HOME"):
        home()


def test_an_unknown_user_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILL_HOME", "~nobody-of-this-name/home")
    with pytest.raises(ConfigError, match="~nobody-of-this-name"):
        home()
