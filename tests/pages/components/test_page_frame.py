"""The frame links only to pages that are there, and shows the library's errors, and only those, as text."""

import threading
import time

from streamlit.testing.v1 import AppTest

from pages.components.page_frame import escape_markdown, loading


def test_markdown_is_shown_as_the_text_it_is() -> None:
    assert escape_markdown("**a** :smile: $x$ <b>") == r"\*\*a\*\* \:smile\: \$x\$ \<b\>"
    assert escape_markdown("plain words, 12 of them") == "plain words, 12 of them"


def test_addresses_are_no_links() -> None:
    shown = escape_markdown("https://a.example/ü www.b.example mail@c.example")
    assert shown.count("\u2060") == 3


def test_pages_load_one_at_a_time() -> None:
    inside: list[int] = []
    seen: list[int] = []

    def page() -> None:
        with loading("Loading …"):
            inside.append(1)
            time.sleep(0.05)
            seen.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=page) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1, 1, 1]


def test_a_library_error_is_a_message() -> None:
    def page() -> None:
        from distill_core.errors import ModelError
        from pages.components.page_frame import errors_shown

        with errors_shown():
            raise ModelError("Unknown model <b>; choose one of: a, b.")

    run = AppTest.from_function(page).run()
    assert not run.exception
    assert run.error[0].value.replace("\\", "") == "Unknown model <b>; choose one of: a, b."


def test_any_other_error_stays_loud() -> None:
    def page() -> None:
        from pages.components.page_frame import errors_shown

        with errors_shown():
            raise ValueError("a mistake of ours")

    assert AppTest.from_function(page).run().exception[0].message == "a mistake of ours"


def test_a_page_that_is_not_there_gets_no_link() -> None:
    def page() -> None:
        from pages.components.page_frame import page_link

        page_link("pages/nowhere.py", "Nowhere")

    run = AppTest.from_function(page).run()
    assert not run.exception
    assert len(run.get("page_link")) == 0
