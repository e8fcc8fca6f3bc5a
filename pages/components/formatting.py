"""Numbers as the pages show them: short, with a true minus sign, never rounded to a value they do not have."""

import math

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for a formula


def format_number(value: float) -> str:
    """Return a value with two decimals, a true minus sign and no leading zero: 0.5 is ".50", -1 is "−1.0".

    A value between 0.995 and 1 gets a third decimal and is cut, not rounded: only 1 itself is shown as 1.
    """
    close_to_one = 0.995 <= abs(value) < 1.0
    text = f"{math.floor(1000 * abs(value)) / 1000:.3f}" if close_to_one else f"{abs(value):.2f}"
    short = text.removeprefix("0") if text.startswith("0.") else f"{abs(value):.1f}"
    return f"−{short}" if value < 0 and float(text) != 0 else short


def format_percent(share: float) -> str:
    """Return a probability as a percentage that is never rounded to 0 or 100 %."""
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def spreadsheet_text(text: str) -> str:
    """Return text that no spreadsheet runs as a formula: an apostrophe before it where it begins like one.

    Text that begins with an apostrophe gets another, so that removing the first gives the text back.
    """
    return f"'{text}" if text.startswith((*FORMULA_STARTS, "'")) else text
