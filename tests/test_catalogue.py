"""Which models there are, found without loading any; see also test_bundle.py."""

import json
from pathlib import Path

import pytest

from distill_core import catalogue
from distill_core.catalogue import find_model, find_teacher
from distill_core.config import RunConfig
from distill_core.errors import ModelError
from distill_core.paths import run_folder


def test_a_teacher_with_fewer_layers_than_the_student_is_refused() -> None:
    assert find_teacher(RunConfig(student_layers=6)).layers == 6
    with pytest.raises(ModelError, match=r"\(student_layers\) is 7; the teacher bundled/sst2-teacher has 6 layers"):
        find_teacher(RunConfig(student_layers=7))
    with pytest.raises(ModelError, match="Unknown model 'bundled/nope'"):
        find_teacher(RunConfig(teacher="bundled/nope"))


@pytest.mark.parametrize(("config", "fits"), [({"num_hidden_layers": 2}, False), ({}, True)])
def test_a_folder_is_judged_by_its_config_where_that_says(config: dict[str, int], fits: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = RunConfig(teacher=str(tmp_path), student_layers=3)
    if fits:
        assert find_teacher(run).path == tmp_path
    else:
        with pytest.raises(ModelError, match="has 2 layers: wanted 1 to 2"):
            find_teacher(run)


def test_a_student_whose_checkpoint_is_just_being_replaced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = run_folder("one") / "student.7.old"
    aside.mkdir(parents=True)
    (aside / "config.json").write_text("{}")
    monkeypatch.setattr(catalogue.time, "sleep", lambda _: aside.rename(run_folder("one") / "student"))
    assert find_model("run/one").path == run_folder("one") / "student"
