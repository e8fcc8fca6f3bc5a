"""A file that is no JSON object fails in one way, whatever is wrong with it."""

from pathlib import Path

import pytest

from distill_core.json_file import parse_json_object, read_json_object
from tests.support.damaged_json import DAMAGED_JSON


@pytest.mark.parametrize("content", DAMAGED_JSON.values(), ids=DAMAGED_JSON)
def test_a_damaged_file_is_a_value_error_that_can_be_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r".") as error:
        read_json_object(path)
    assert str(error.value).encode()
    with pytest.raises(ValueError, match=r"."):
        parse_json_object(content)


def test_an_object_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"name": "\\ud83d\\ude00 ü", "escaped": "\\\\ud800", "step": 3}', encoding="utf-8")
    assert read_json_object(path) == {"name": "😀 ü", "escaped": "\\ud800", "step": 3}
    with pytest.raises(FileNotFoundError):
        read_json_object(tmp_path / "b.json")
