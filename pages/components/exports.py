"""One explanation as files: a table of scores as CSV, everything as JSON."""

import csv
import io
import json
from collections.abc import Mapping

from distill_core.explanation import Explanation
from pages.components.heatmap import normalised

COLUMNS = ("position", "token", "shown", "word", "special", "model", "target", "score", "normalised")


def to_csv(explanation: Explanation) -> str:
    """Return one line a token, model and class, with the raw score and the one the map colours.

    `token` is the model's own, marks and bytes as its vocabulary has them; `shown` is how it reads.
    """
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow(COLUMNS)
    for model in explanation.models:
        for token_map in model.attributions:
            shares = normalised(token_map.scores, explanation.special)
            for at, (token, score, share) in enumerate(zip(explanation.tokens, token_map.scores, shares, strict=True)):
                word = explanation.words[at]
                about = (at, token, explanation.shown[at], "" if word is None else word, int(explanation.special[at]))
                writer.writerow((*about, model.id, token_map.target, repr(score), f"{share:.6f}"))
    return lines.getvalue()


def to_json(explanation: Explanation, view: Mapping[str, object]) -> str:
    """Return the numbers as the command line prints them, and what was asked for: the page's address, as `view`."""
    return json.dumps(explanation.to_json() | {"view": view}, indent=2, ensure_ascii=False)
