"""The app on a loopback port of its own, and Chromium to look at it; without Chromium these tests say so and skip."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.live_tick import Worker
from distill_core.runs import scheduler
from distill_core.runs.store import Store

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "test-artifacts"
START_SECONDS = 60
EXPECT_SECONDS = 30  # a busy machine is not a fault of the page
QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return Chromium's path; without it skip, or fail where REQUIRE_BROWSER=1."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is not None:
        return path
    words = "Chromium is not installed (Debian: apt-get install chromium)"
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(f"{words}, but REQUIRE_BROWSER=1 asks for it.")
    pytest.skip(f"{words}; the browser tests are left out.")


class Server:
    """The app's server, always at the same address; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.txt"
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = {"port": self.port, "headless": "true", "fileWatcherType": "none"}
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        command += [f"--server.{name}={value}" for name, value in options.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._wait()

    def kill(self) -> None:
        """End the server as a crash would, with no time to tidy up."""
        self.process.kill()
        self.process.wait(20)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=2):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        words = self.log.read_text(errors="replace")[-3000:]
        pytest.fail(f"The app did not start within {START_SECONDS} s:\n{words}")


@pytest.fixture
def server(own_home: Path, chromium: str) -> Iterator[Server]:
    """Start the app with an application folder of its own. Its runs end with it."""
    assert chromium  # without a browser no server is started
    own_home.mkdir(parents=True)
    server = Server(own_home)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(20)
        _end_runs()


@pytest.fixture
def app(server: Server) -> str:
    """Return the address of the running app."""
    return server.address


def _end_runs() -> None:
    store = Store()
    for run in store.runs(("queued",)):
        store.cancel(run.id)
    for run in store.runs(("running",)):
        process = scheduler.worker_process(run)
        if process is not None:
            process.kill()
            process.wait(10)


class Visitor:
    """A browser's page, with every address it asked for."""

    def __init__(self, page: "Page") -> None:  # noqa: F821
        self.page = page
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))

    def outside(self) -> list[str]:
        """Return the addresses that are not on this machine's loopback."""
        parts = [urlsplit(url) for url in self.asked]
        return [part.geturl() for part in parts if part.scheme not in ("data", "blob") and part.hostname != "127.0.0.1"]

    def keep(self, name: str) -> None:
        """Save what is to be seen now as test-artifacts/NAME.png."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png")


@pytest.fixture
def visitor(chromium: str) -> Iterator[Visitor]:
    """Return a visitor with a window of 1280 by 900."""
    from playwright.sync_api import expect, sync_playwright  # here: without Chromium it is not needed

    expect.set_options(timeout=EXPECT_SECONDS * 1000)
    with sync_playwright() as playwright:
        options = [f"--{name}" for name in ("no-sandbox", "disable-gpu", *QUIET)]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light").new_page()
        page.set_default_timeout(90_000)
        yield Visitor(page)
        browser.close()


@pytest.fixture
def worker(app: str) -> Iterator[Worker]:
    """Return what writes to a run; it is this process, so the run has to end before the app does, which ends runs."""
    assert app
    worker = Worker(Store(), 2000)
    yield worker
    worker.end()
