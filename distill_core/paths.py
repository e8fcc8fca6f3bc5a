"""Where the application keeps its own things, and where its bundled assets lie.

One folder holds everything the application writes: `DISTILL_HOME` if that environment variable is
set, else `distillation-lens` in the user's cache folder. Deleting it loses runs and caches, nothing else.
"""

import os
from pathlib import Path

import platformdirs

ASSETS = Path(__file__).resolve().parent.parent / "assets"


def home() -> Path:
    """Return the application's own folder, created if missing."""
    chosen = os.environ.get("DISTILL_HOME")
    folder = Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("distillation-lens"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_folder(run_id: str) -> Path:
    """Return the folder of one run (log, checkpoint, student); not created here."""
    return home() / "runs" / run_id
