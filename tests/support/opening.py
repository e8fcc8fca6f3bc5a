"""A page of the app through its entry, as an address opens it, and what it shows."""

from collections.abc import Mapping
from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds


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
