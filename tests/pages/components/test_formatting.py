"""Numbers are shown short and never rounded to a value they do not have; a spreadsheet runs no text."""

from pages.components.formatting import (
    format_change,
    format_count,
    format_known,
    format_number,
    format_percent,
    format_scientific,
    format_short,
    format_size,
    spreadsheet_text,
)


def test_printed_numbers() -> None:
    assert [format_number(value) for value in (0.5, -0.35, 1.0, -1.0, 0.9999, -0.997, -0.001, 1.84)] == [
        "0.50", "−0.35", "1.00", "−1.00", "0.999", "−0.997", "0.00", "1.84",
    ]  # fmt: skip


def test_a_probability_is_never_rounded_to_certainty() -> None:
    assert [format_percent(share) for share in (0.5, 0.99991, 0.0001, 1.0, 0.0)] == [
        "50.0 %", "> 99.9 %", "< 0.1 %", "100.0 %", "0.0 %",
    ]  # fmt: skip


def test_text_like_a_formula_stays_text() -> None:
    assert [spreadsheet_text(text) for text in ("=1+1", "-", "'s", "good", "")] == ["'=1+1", "'-", "''s", "good", ""]


def test_sizes_have_the_unit_that_fits() -> None:
    assert [format_size(size) for size in (0, 1, 4200, 17_543_680, 912_345_678, 1_234_567_890, float("nan"))] == [
        "0 bytes", "1 byte", "4.2 kB", "17.5 MB", "912.3 MB", "1.2 GB", "–",
    ]  # fmt: skip


def test_numbers_of_any_size_are_short() -> None:
    nan = float("nan")
    assert [format_short(value) for value in (nan, 12345.6, 0.01234, -2e-7)] == ["–", "12,346", "0.0123", "−2e−7"]
    assert [format_scientific(value) for value in (nan, 0.0, 5e-5)] == ["–", "0", "5.0e−5"]
    assert [format_change(value) for value in (0.25, -0.25, 0.0)] == ["+0.25", "−0.25", "0.00"]
    assert format_known(nan) == "–"


def test_a_count_agrees_with_its_noun() -> None:
    assert [format_count(number, "run") for number in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]
