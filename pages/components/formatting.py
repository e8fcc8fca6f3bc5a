"""Formatting of numbers, durations and sizes for the pages, and of text for spreadsheets.

Numbers are short, have a true minus sign, and are never rounded to 1 or to 0 and 100 %.
"""

import math

import humanize

MISSING = "–"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet reads a cell that starts with one as a formula


def format_number(value: float) -> str:
    """Return a value with two decimals and a true minus sign: "0.50", "−1.00".

    A value between 0.995 and 1 gets a third decimal and is cut, not rounded: only 1 itself is shown as 1.00.
    """
    close_to_one = 0.995 <= abs(value) < 1.0
    text = f"{math.floor(1000 * abs(value)) / 1000:.3f}" if close_to_one else f"{abs(value):.2f}"
    return f"−{text}" if value < 0 and float(text) != 0 else text


def format_percent(share: float) -> str:
    """Return a probability as a percentage that is never rounded to 0 or 100 %."""
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def spreadsheet_text(text: str) -> str:
    """Return text that no spreadsheet reads as a formula: with an apostrophe in front where it starts like one.

    Text that starts with an apostrophe gets a second one, so that removing the first restores the text.
    """
    return f"'{text}" if text.startswith((*FORMULA_STARTS, "'")) else text


def format_known(value: float) -> str:
    """Return a number as `format_number` does, a dash where it is not defined."""
    return format_number(value) if math.isfinite(value) else MISSING


def format_change(value: float) -> str:
    """Return a difference with its sign."""
    return ("+" if value > 0 else "") + format_number(value)


def format_short(value: float) -> str:
    """Return three significant digits, a dash where the number is not defined."""
    if not math.isfinite(value):
        return MISSING
    return with_true_minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}")


def format_scientific(value: float) -> str:
    """Return two significant digits and an exponent, as 5.0e−5; a dash where the number is not defined."""
    if value == 0:
        return "0"
    return with_true_minus(f"{value:.1e}") if math.isfinite(value) else MISSING


def format_count(number: int, noun: str) -> str:
    """Return a count with its noun: "1 run", "1,200 runs"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_size(size: float) -> str:
    """Return a number of bytes with the unit that fits, in powers of 1,000: "912.3 MB", "1.2 GB"."""
    return humanize.naturalsize(size, format="%.1f").replace("Byte", "byte") if math.isfinite(size) else MISSING


def format_approximate_duration(seconds: float) -> str:
    """Return a rounded duration in words: "a few seconds", "about 50 s", "about 3 min", "about 1 h 20 min"."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {round(minutes % 60, -1):.0f} min".replace(" 0 min", "")


def format_duration_range(low: float, high: float) -> str:
    """Return a range of durations: "3–5 min", "10–40 s", "1.5–2 h"; "under 2 min" where the lower end rounds to 0."""
    if high < 8:
        return "a few seconds"
    size, digits, unit = (10, 0, "s") if high < 90 else (60, 0, "min") if high < 5400 else (3600, 1, "h")
    first, last = (round(seconds / size, digits) * (10 if unit == "s" else 1) for seconds in (low, high))
    if not first:
        return f"under {max(last, 10 if unit == 's' else 1):g} {unit}"
    return f"{last:g} {unit}" if first == last else f"{first:g}–{last:g} {unit}"


def format_duration(seconds: float) -> str:
    """Return a duration to the second: "48 s", "2 min 5 s", "1 h 2 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def with_true_minus(text: str) -> str:
    """Return a number's text with a true minus sign, and without the zeros and plus sign of an exponent."""
    mantissa, marker, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}".replace("-", "−") if marker else text.replace("-", "−")
