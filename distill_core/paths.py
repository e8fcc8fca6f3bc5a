"""The folders of the application: its code, the parts that come with it, and what it writes.

`CODE` holds the package `distill_core`. `APP` holds app.py, pages, assets, docs and .streamlit: the repository in a
checkout, `distill_core/_app` where the package was installed (pyproject.toml puts them there). One folder holds
everything the application writes: `DISTILL_HOME` if that environment variable is set, else `distillation-lens` in the
user's cache folder. Deleting it loses runs and caches, nothing else.
"""

import os
from pathlib import Path

import platformdirs

from distill_core.errors import ConfigError

CODE = Path(__file__).resolve().parent.parent
_INSTALLED_APP = CODE / "distill_core" / "_app"
APP = _INSTALLED_APP if _INSTALLED_APP.is_dir() else CODE
ASSETS = APP / "assets"
STATE_FILE = "training_state.safetensors"  # in a checkpoint's folder: the state a training resumes from


def home() -> Path:
    """Return the application's folder, created if missing; ConfigError if it cannot be created."""
    chosen = os.environ.get("DISTILL_HOME") or platformdirs.user_cache_dir("distillation-lens")
    try:
        folder = Path(chosen).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # a file, no permission, an unknown ~user, a NUL
        raise ConfigError(
            f"The application's folder {chosen[:200]!r} cannot be used ({error}); set DISTILL_HOME to a folder "
            "that exists or can be created."
        ) from error
    return folder


def run_folder(run_id: str) -> Path:
    """Return the folder of one run (log, checkpoint, student); not created here."""
    return home() / "runs" / run_id
