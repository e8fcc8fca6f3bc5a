"""The command line in a process, called as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call `python -m distill_core` and return its exit code and output."""
    command = [sys.executable, "-m", "distill_core", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


def call_json(*arguments: str) -> Any:
    """Call a command that must succeed with --json and return what it printed."""
    done = call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
