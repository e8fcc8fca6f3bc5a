"""Numbers are shown short and never rounded to a value they do not have; a spreadsheet runs no text."""

from pages.components.formatting import format_number, format_percent, spreadsheet_text


def test_printed_numbers() -> None:
    assert [format_number(value) for value in (0.5, -0.35, 1.0, -1.0, 0.9999, -0.997, -0.001, 1.84)] == [
        ".50", "−.35", "1.0", "−1.0", ".999", "−.997", ".00", "1.8",
    ]  # fmt: skip


def test_a_probability_is_never_rounded_to_certainty() -> None:
    assert [format_percent(share) for share in (0.5, 0.99991, 0.0001, 1.0, 0.0)] == [
        "50.0 %", "> 99.9 %", "< 0.1 %", "100.0 %", "0.0 %",
    ]  # fmt: skip


def test_text_like_a_formula_stays_text() -> None:
    assert [spreadsheet_text(text) for text in ("=1+1", "-", "'s", "good", "")] == ["'=1+1", "'-", "''s", "good", ""]
