"""The seconds from `streamlit run` to the first complete maps in a browser, with an empty and with a used home folder.

python -m benchmarks.app_start     (needs Debian's chromium and requirements-dev.txt)
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import typer
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def free_port() -> int:
    """Return a free port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(home: Path, checkout: Path = ROOT) -> float:
    """Start the app of a checkout with a home folder; return the seconds until agreement is shown."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    environment = os.environ | {"DISTILL_HOME": str(home), "PYTHONPATH": str(checkout)}
    began = time.perf_counter()
    server = subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}")
            page.locator(".dl-agreement .dl-value").first.wait_for(timeout=120_000)
            seconds = time.perf_counter() - began
            browser.close()
        return seconds
    finally:
        server.terminate()
        server.wait()


def wait_for(url: str) -> None:
    """Wait until the address answers; exit after a minute."""
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} did not answer within a minute")


def main() -> None:
    """Measure the first start with a new home folder, then the second."""
    with tempfile.TemporaryDirectory() as folder:
        for what in ("first start, models unpacked", "second start, maps from the cache"):
            print(f"| `streamlit run` to the first complete maps: {what} | {start(Path(folder)):.1f} s |", flush=True)


if __name__ == "__main__":
    typer.run(main)
