"""An explanation as files: a table of scores as CSV, everything as JSON."""

import csv
import io
import json
from collections.abc import Mapping

from distill_core.explanation.result import Explanation
from pages.components.explain.heatmap import normalised
from pages.components.formatting import spreadsheet_text

COLUMNS = ("position", "token", "shown", "word", "text", "special", "model", "target", "score", "normalised")


def to_csv(explanation: Explanation) -> str:
    """Return one line per token, model and class, with the raw score and the normalised one that the map colours.

    `text`: 1 or 2, the text of a pair that the token is from, empty for special tokens of neither. `token` is
    the token as the vocabulary has it, with its marks and bytes; `shown` is the token as people read it. Text that a
    spreadsheet would run as a formula ("=1+1", and "-" alone) or that begins with an apostrophe gets an apostrophe in
    front; without it, the text is the original. Numbers are never changed.
    """
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    for model in explanation.models:
        for token_map in model.attributions:
            shares = normalised(token_map.scores, explanation.special)
            for at, (token, score, share) in enumerate(zip(explanation.tokens, token_map.scores, shares, strict=True)):
                word = explanation.words[at]
                reads = map(spreadsheet_text, (token, explanation.shown[at]))
                segment, special = explanation.segments[at], int(explanation.special[at])
                text = "" if segment is None else segment + 1
                about = (at, *reads, "" if word is None else word, text, special)
                writer.writerow(
                    (
                        *about,
                        spreadsheet_text(model.id),
                        spreadsheet_text(token_map.target),
                        repr(score),
                        f"{share:.6f}",
                    )
                )
    return lines.getvalue()


def to_json(explanation: Explanation, view: Mapping[str, object]) -> str:
    """Return the numbers as the command line prints them, and the view, as the parameters of the page's address."""
    return json.dumps(explanation.to_json() | {"view": view}, indent=2, ensure_ascii=False)
