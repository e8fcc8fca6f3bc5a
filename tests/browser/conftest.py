"""The app on a loopback port of its own, and Chromium to look at it; without Chromium these tests say so and skip."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.live_tick import Worker
from distill_core.runs import worker_process
from distill_core.runs.store import Store
from tests.support.browser import Server, Visitor
from tests.support.unpacked_bundle import link_unpacked

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


@pytest.fixture(scope="module")
def home_of_file(tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path) -> Path:
    """Return the application folder that all tests of a file share, as they share its server."""
    home = tmp_path_factory.mktemp("home")
    link_unpacked(bundle_folder, home)
    return home


@pytest.fixture(autouse=True)
def own_home(home_of_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the test use the server's application folder, and no GLUE."""
    monkeypatch.setenv("DISTILL_HOME", str(home_of_file))
    monkeypatch.delenv("GLUE_DIR", raising=False)
    return home_of_file


@pytest.fixture(scope="module")
def server_of_file(home_of_file: Path, chromium: str) -> Iterator[Server]:
    """Start the app once for a file of tests: it imports torch, which takes seconds."""
    assert chromium  # without a browser no server is started
    environment = {name: value for name, value in os.environ.items() if name != "GLUE_DIR"}
    server = Server(home_of_file, environment | {"DISTILL_HOME": str(home_of_file)})
    yield server
    server.process.terminate()
    server.process.wait(20)


@pytest.fixture
def server(server_of_file: Server) -> Iterator[Server]:
    """Return the running app; the runs of a test end with it."""
    yield server_of_file
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
        process = worker_process.find_worker(run)
        if process is not None:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:  # noqa: F821
    """Start Chromium once for a file of tests."""
    from playwright.sync_api import expect, sync_playwright  # here: without Chromium it is not needed

    expect.set_options(timeout=EXPECT_SECONDS * 1000)
    with sync_playwright() as playwright:
        options = [f"--{name}" for name in ("no-sandbox", "disable-gpu", *QUIET)]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: "Browser") -> Iterator[Visitor]:  # noqa: F821
    """Return a visitor with a window of 1280 by 900, without cookies or storage of another."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(90_000)
    yield Visitor(page)
    context.close()


@pytest.fixture
def worker(app: str) -> Iterator[Worker]:
    """Return what writes to a run; it is this process, so the run has to end before the app does, which ends runs."""
    assert app
    worker = Worker(Store(), 2000)
    yield worker
    worker.end()
