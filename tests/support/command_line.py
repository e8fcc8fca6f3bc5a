"""The command line, called as a user calls it: in this process, or as a process of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from distill_core.cli import main

ROOT = Path(__file__).parents[2]


def call_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call `python -m distill_core` and return its exit code and output."""
    command = [sys.executable, "-m", "distill_core", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Do what `python -m distill_core` does in this process, which has imported torch already."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["distill_core", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def call_json(*arguments: str) -> Any:
    """Call a command that must succeed with --json and return what it printed."""
    done = call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
