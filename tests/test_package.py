"""The package that `pip install .` builds: it holds the app, and its command works away from the repository."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APP = ("app.py", "pages", "assets", ".streamlit", "docs/methods")
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and return its path."""
    pytest.importorskip("hatchling", reason="make install-dev installs it")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Unpack the wheel, as pip does, and return the folder that Python imports it from."""
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files_below(*places: str) -> set[str]:
    """Return the repository's files at these places, relative to it."""
    found = {path for place in places for path in (ROOT / place, *(ROOT / place).rglob("*")) if path.is_file()}
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def environment(installed: Path, home: Path) -> dict[str, str]:
    """Return the environment in which Python imports the unpacked package."""
    return os.environ | {"PYTHONPATH": str(installed), "DISTILL_HOME": str(home)}


def test_the_wheel_holds_the_code_and_the_app(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        points = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    assert names == files_below("distill_core") | {f"distill_core/_app/{name}" for name in files_below(*APP)}
    assert "distillation-lens = distill_core.cli:main" in points


def test_the_wheel_asks_for_the_pinned_requirements(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("METADATA"))).decode()
    asked = {line.split(": ")[1].lower() for line in metadata.splitlines() if line.startswith("Requires-Dist: ")}
    lines = [line.partition("#")[0].strip().lower() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    assert asked == {line.replace("_", "-") for line in lines if line}


def test_the_installed_command_trains_a_student(installed: Path, tmp_path: Path) -> None:
    """Bundled models, bundled examples and the training itself, from a folder that holds no code."""
    sizes = ("--steps", "1", "--train-examples", "8", "--batch-size", "4", "--method", "kd")
    command = [sys.executable, "-P", "-m", "distill_core", "distill", *sizes, "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(installed, tmp_path), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"


def test_serve_answers_on_the_loopback_address_until_interrupted(installed: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-m", "distill_core", "serve", "--port", str(port), "--no-browser"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment(installed, tmp_path), stdout=log, stderr=log)
    try:
        assert wait_for(f"http://127.0.0.1:{port}/_stcore/health") == b"ok", (tmp_path / "log").read_text()
        with pytest.raises(OSError):  # any other of this machine's addresses
            socket.create_connection(("127.0.0.2", port), timeout=5)
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        server.kill()


def wait_for(address: str) -> bytes | None:
    """Return what an address answers, None where it does not within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    return None
