"""Command lines to paste into a shell, which work in any folder and on the runs and models that this process sees."""

import os
import shlex
import sys
import sysconfig
from pathlib import Path

from distill_core.paths import CODE, home


def shell_command(*arguments: str) -> str:
    """Return the line that runs a command of the command line with these arguments, quoted for a POSIX shell.

    It names this interpreter, the code where that is not installed, and the home folder where a variable sets it, which
    the shell need not have: `DISTILL_HOME`, or `XDG_CACHE_HOME` for the user's cache folder.
    """
    variables = {}
    if not _installed():
        # An empty entry means the working directory, which is left out on purpose.
        entries = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        variables["PYTHONPATH"] = os.pathsep.join([str(CODE), *map(os.path.abspath, entries)])
    if os.environ.get("DISTILL_HOME") or os.environ.get("XDG_CACHE_HOME"):
        variables["DISTILL_HOME"] = str(home().resolve())
    assignments = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    # -P keeps the working directory off sys.path.
    return " ".join([*assignments, shlex.join([python(), "-P", "-m", "distill_core", *arguments])])


def python() -> str:
    """Return the path of this interpreter; `python3` where it does not know its path, as where Python is embedded."""
    return sys.executable or "python3"


def _installed() -> bool:
    return CODE in {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
