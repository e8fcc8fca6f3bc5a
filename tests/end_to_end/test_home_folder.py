"""The app's own folder on a disk that is read-only, full or shared over a network; the first two are real mounts."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from distill_core.cli import app
from distill_core.errors import StoreError
from distill_core.runs.store import Store
from distill_core.storage.filesystems import file_system, network_warning
from tests.support.small_worker import worker_command

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
mount -t tmpfs -o size="$1" none "$2"
"$3" -c "$4"
"""
APART = ("unshare", "-m") if sys.platform == "linux" and os.geteuid() == 0 else ("unshare", "-rm")


@cache
def can_mount() -> bool:
    """Say whether this user may mount a file system in a name space of its own, which ends with its process."""
    try:
        return subprocess.run([*APART, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def on_a_disk_of(size: str, folder: Path, code: str) -> str:
    """Run Python with the app's folder on a disk of its own, and return what it prints."""
    if not can_mount():
        pytest.skip("needs the right to mount a file system")
    folder.mkdir(exist_ok=True)
    words = [*APART, "bash", "-ec", SCRIPT, "bash", size, str(folder), sys.executable, code]
    environment = os.environ | {"DISTILL_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# read-only -------------------------------------------------------------------------------------

MAKE_READ_ONLY = """
import os, subprocess
from distill_core.config.run_config import RunConfig
from distill_core.runs.store import Store
Store().add("before", RunConfig())
subprocess.run(["mount", "-o", "remount,ro", os.environ["DISTILL_HOME"]], check=True)
"""


def test_a_read_only_folder_is_said_by_library_and_command_line(tmp_path: Path) -> None:
    code = """
import subprocess, sys
from distill_core.errors import StoreError
try:
    Store()
except StoreError as error:
    print(error)
done = subprocess.run([sys.executable, "-m", "distill_core", "runs", "list"], capture_output=True, text=True)
print(done.returncode, " ".join(done.stderr.split()))
"""
    library, command = on_a_disk_of("8m", tmp_path / "disk", MAKE_READ_ONLY + code).splitlines()
    for words in (library, command.removeprefix("2 Error: ")):
        assert words.startswith(f"The folder {tmp_path / 'disk'} is read-only")
        assert words.endswith("Set DISTILL_HOME to a folder that can be written to.")
    assert command.startswith("2 Error: ")


@pytest.mark.slow
def test_a_read_only_folder_is_said_on_the_pages(tmp_path: Path) -> None:
    code = f"""
import json
from streamlit.testing.v1 import AppTest
for script in ("app.py", "pages/distill.py"):
    page = AppTest.from_file({str(ROOT / "app.py")!r}, default_timeout=150)
    page = (page if script == "app.py" else page.switch_page(script)).run()
    print(json.dumps([[error.value for error in page.error], [error.value for error in page.exception]]))
"""
    for line in on_a_disk_of("8m", tmp_path / "disk", MAKE_READ_ONLY + code).splitlines():
        errors, exceptions = json.loads(line)
        assert exceptions == []
        assert any("is read-only, or this user may not write there" in e.replace("\\", "") for e in errors), errors


def test_a_folder_that_may_not_be_written_to_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="is read-only, or this user may not write there"):
        Store(store.path)


# full ------------------------------------------------------------------------------------------

# Runs until the disk is full, in a real worker process, and says what is then in the store.
FILL = """
import json, sqlite3, time
from distill_core.config.run_config import RunConfig
from distill_core.runs.database import FullError
from distill_core.runs.scheduler import reconcile, enqueue, wait
from distill_core.runs.store import Store
store = Store()
run_id = enqueue(store, RunConfig(steps=100_000, evaluate_every={every}, device="cpu"))
reconcile(store, {command!r})
while True:
    try:
        run = wait(store, run_id, 120)
        break
    except FullError:  # the process that waits can meet the full disk before the run has ended
        time.sleep(0.1)
steps = [point.step for point in store.metrics(run_id, names=["loss"])]
sound = sqlite3.connect(store.path).execute("PRAGMA quick_check").fetchone()[0]
record = json.loads((run.model_path / "student.json").read_text()) if run.model_path else {{}}
print(json.dumps([run.state, run.reason, run.step, steps, sound, record.get("step"), store.damaged]))
"""


@pytest.mark.parametrize("filled_by", ["checkpoints", "log", "numbers"])
def test_a_disk_that_fills_up_fails_the_run_and_keeps_what_is_there(tmp_path: Path, filled_by: str) -> None:
    command: Sequence[str] = worker_command(tmp_path, f"filling by {filled_by}")
    every = 5 if filled_by == "checkpoints" else 20
    told = on_a_disk_of("4m", tmp_path / "disk", FILL.format(command=tuple(command), every=every))
    state, reason, step, steps, sound, saved, damaged = json.loads(told)
    assert (state, sound, damaged) == ("failed", "ok", [])
    assert "No space left on the disk" in reason
    assert steps == list(range(1, step + 1))
    assert 0 < saved <= step


# shared over a network -------------------------------------------------------------------------


def mounted(folder: Path, kind: str) -> list[SimpleNamespace]:
    """Return a table of mounts in which a folder is one, between others."""
    return [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(folder), fstype="autofs"),
        SimpleNamespace(mountpoint=str(folder), fstype=kind),
        SimpleNamespace(mountpoint=f"{folder}-other", fstype="tmpfs"),
        SimpleNamespace(mountpoint="/proc", fstype="proc"),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems mount other things")
def test_the_systems_own_table_of_mounts_is_read() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/")) not in ("", "proc")
    assert network_warning(Path("/proc")) is None


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "fuse.sshfs", "9p", "SMBFS"])
def test_a_network_folder_is_said_on_pages_and_command_line_and_used(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    own_home.mkdir()
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounted(own_home.parent, kind))
    done = CliRunner().invoke(app, ["runs", "list"], catch_exceptions=False)
    assert f"is on a network file system ({kind})" in done.stderr
    assert "set DISTILL_HOME to a folder on a local disk" in done.stderr
    assert done.exit_code == 0
    if kind == "nfs4":
        page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).switch_page("pages/distill.py").run()
        (warning,) = page.warning
        assert f"is on a network file system ({kind})" in warning.value.replace("\\", "")


def test_a_local_folder_gives_no_warning(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounted(own_home.parent, "xfs"))
    assert network_warning(own_home) is None

    def hidden(all: bool) -> None:
        raise PermissionError(all)

    monkeypatch.setattr(psutil, "disk_partitions", hidden)
    assert file_system(own_home) == ""
