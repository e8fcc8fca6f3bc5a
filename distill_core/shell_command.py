"""Command lines to paste into a shell, which work in any folder and on the runs and models that this process sees."""

import os
import shlex
import sys
import sysconfig
from pathlib import Path

from distill_core.paths import CODE, home


def shell_command(*arguments: str) -> str:
    """Return the line that runs a command of the command line with these arguments, quoted for a POSIX shell.

    It names this interpreter, the code where that is not installed, and the home folder where `DISTILL_HOME` sets it.
    """
    variables = {}
    if not _installed():
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))
    if os.environ.get("DISTILL_HOME"):
        variables["DISTILL_HOME"] = str(home().resolve())
    assignments = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    # -P keeps the working directory off sys.path.
    return " ".join([*assignments, shlex.join([sys.executable, "-P", "-m", "distill_core", *arguments])])


def _installed() -> bool:
    return CODE in {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
