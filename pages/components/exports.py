"""One explanation as files: a table of scores as CSV, everything as JSON."""

import csv
import io
import json

from distill_core.explanations import Explanation
from pages.components.heatmap import normalised

COLUMNS = ("position", "token", "word", "special", "model", "target", "score", "normalised")


def to_csv(explanation: Explanation) -> str:
    """Return one line a token, model and class.

