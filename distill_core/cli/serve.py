"""The command `serve`: the pages in a browser, with the settings that come with them."""

import runpy
import sys
from typing import Annotated

import typer

from distill_core.paths import APP


def serve(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port to listen on. Default: 8501 or the next free one."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Start the app on this machine's loopback address; Ctrl-C ends it. Runs continue without it."""
    arguments = ["streamlit", "run", str(APP / "app.py")]
    if port is not None:
        arguments += ["--server.port", str(port)]
    if not browser:
        arguments += ["--server.headless", "true"]
    sys.argv = arguments  # the core must not import streamlit, so its command line takes over this process
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
