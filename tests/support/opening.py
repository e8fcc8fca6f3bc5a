"""Pages of the app opened through its entry script, and the text they show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from tests.support.tiny import tiny_folder

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds
NASTY = "<b>Bold</b> & <script>alert(1)</script>"


def open_page(script: str, address: Mapping[str, str | list[str]]) -> AppTest:
    """Open pages/SCRIPT at an address."""
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE).switch_page(f"pages/{script}")
    for name, value in address.items():
        page.query_params[name] = value
    return page.run()


def html_of(page: AppTest) -> str:
    """Return all HTML of a page that came to its end without an error."""
    assert not page.exception, page.exception[0].value
    assert not page.error, page.error[0].value
    return "".join(block.value for block in page.html)


def all_html(page: AppTest) -> str:
    """Return all HTML of a page, which may show an error, in one string."""
    return "\n".join(str(part.proto.body) for part in page.get("html"))


def open_distill(run: str | None = None, **values: Any) -> AppTest:
    """Open the distillation page on its form with `values`, or on a run."""
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30).switch_page("pages/distill.py")
    if run is not None:
        page.query_params["run"] = run
    for name, value in values.items():
        page.session_state[f"distill.{name}"] = value
    return page.run()


def open_home(home: Path) -> AppTest:
    """Open the app in a folder that has at least one model."""
    folder = home / "runs" / "teacher" / "student"
    folder.parent.mkdir(parents=True)
    tiny_folder(folder)
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()


def as_read(label: str) -> str:
    """Return the text a reader sees in a label escaped by `plain`."""
    return label.replace("\\", "").replace("\u2060", "").strip("\u2068\u2069")
