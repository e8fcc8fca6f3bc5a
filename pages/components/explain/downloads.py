"""One explanation as files: a table of scores as CSV, everything as JSON."""

import csv
import io
import json
from collections.abc import Mapping

from distill_core.explanation.result import Explanation
from pages.components.explain.heatmap import normalised
from pages.components.formatting import spreadsheet_text

COLUMNS = ("position", "token", "shown", "word", "text", "special", "model", "target", "score", "normalised")


def to_csv(explanation: Explanation) -> str:
    """Return one line a token, model and class, with the raw score and the one the map colours.

    `text`: 1 or 2, the text of a pair that the token is from, empty for special tokens of neither. `token` is the
    model's own, marks and bytes as its vocabulary has them; `shown` is how it reads. Text that a spreadsheet would run
    as a formula ("=1+1", and "-" alone too) has an apostrophe before it, as has text that begins with one: without the
    first apostrophe it is as it was. Numbers are never touched.
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
    """Return the numbers as the command line prints them, and what was asked for: the page's address, as `view`."""
    return json.dumps(explanation.to_json() | {"view": view}, indent=2, ensure_ascii=False)
