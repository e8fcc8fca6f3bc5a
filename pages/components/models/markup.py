"""A model's facts and the checks of a new one as escaped HTML; styled by assets/models.css."""

from collections.abc import Mapping, Sequence
from html import escape

import humanize

from distill_core.catalog.catalog import ModelInfo
from distill_core.data.tasks import TASKS
from distill_core.model_import.progress import Finding
from pages.components.formatting import MISSING, format_size


def model_facts(info: ModelInfo) -> Mapping[str, str]:
    """Return what the page lists of a model, in words, by heading."""
    return {
        "Task": TASKS[info.task].short_title if info.task in TASKS else info.task or MISSING,
        "Source": info.origin,
        "Architecture": info.architecture or MISSING,
        "Layers": _count(info.layers),
        "Width": _count(info.hidden_size),
        "Parameters": humanize.metric(info.parameters) if info.parameters else MISSING,
        "Outputs": ", ".join(info.labels) or MISSING,
        "On disk": (format_size(info.size) if info.size else MISSING)
        + (", packed" if info.kind == "bundled" and not info.path.exists() else ""),
    }


def model_card_html(info: ModelInfo) -> str:
    """Return one model: its name, id and facts, and where it lies."""
    rows = {**model_facts(info), "Revision": info.revision or MISSING, "Folder": str(info.path)}
    cells = "".join(f"<dt>{escape(name)}</dt><dd><bdi>{escape(value)}</bdi></dd>" for name, value in rows.items())
    about = f"<p>{escape(info.description)}</p>" if info.description else ""
    return (
        f'<div class="dl-model-card"><h3><bdi>{escape(info.title)}</bdi></h3><code>{escape(info.id)}</code>{about}'
        f"<dl>{cells}</dl></div>"
    )


def findings_list(found: Sequence[Finding]) -> str:
    """Return the checks a model went through: passed, in doubt, or failed, each in words."""
    rows = "".join(
        f'<li class="dl-{kind}"><b>{escape(one.check.capitalize())}:</b> '
        f"<span><bdi>{escape(one.words)}</bdi></span></li>"
        for one in found
        for kind in ("failed" if not one.passed else "doubtful" if one.warning else "passed",)
    )
    return f'<ul class="dl-findings">{rows}</ul>'


def _count(number: int) -> str:
    return str(number) if number else MISSING
