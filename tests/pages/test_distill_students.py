"""What a student begins as, on the form: made from its teacher, or a model of its own that fits."""

from pathlib import Path

import pytest

from distill_core.runs.store import Store
from tests.support.opening import open_page
from tests.support.tiny import tiny_folder


@pytest.fixture
def teacher(own_home: Path) -> str:
    for name, width in (("teacher", 16), ("narrow", 8)):
        (own_home / "runs" / name).mkdir(parents=True)
        tiny_folder(own_home / "runs" / name / "student", layers=4, width=width)
    return "run/teacher"


def test_a_student_is_chosen_and_where_it_does_not_fit_the_form_says_so(teacher: str, store: Store) -> None:
    page = open_page("distill.py", {})
    page.selectbox(key="distill.teacher").set_value(teacher).run()
    student = page.selectbox(key="distill.student_init")
    assert student.options[:4] == [
        "Teacher’s first layers", "Teacher’s even layers", "Teacher’s last layers", "Random weights",
    ]  # fmt: skip
    assert not page.number_input(key="distill.student_layers").disabled
    student.set_value("run/narrow").run()
    assert page.number_input(key="distill.student_layers").disabled
    assert not page.error
    page.selectbox(key="distill.method").set_value("gkd").run()
    assert "is 8 wide, its teacher 16: choose a student of the same width" in page.error[0].value.replace("\\", "")
    assert page.button(key="distill.start").disabled
    page.selectbox(key="distill.student_init").set_value("even").run()
    assert not page.error
    page.number_input(key="distill.student_layers").set_value(5).run()
    assert "has 4 layers: use 1 to 4" in page.error[0].value.replace("\\", "")
    assert store.runs() == []
