"""Record the moving picture of the README: the real app in a browser, as an animated WebP.

    python -m scripts.record_demo [--to docs/demo.webp] [--steps 120]     (needs chromium and requirements-dev.txt)

The story: explain a sentence, start an AD-KD run, watch its curves, explain the sentence with the new student. The app,
the run and the maps are real, in a home folder that is deleted afterwards; waiting is left out. The pointer and the
line of text below the picture are drawn here, since a screenshot has no pointer.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.app_start import CHROMIUM_FLAGS, ROOT, free_port, wait_for

WINDOW = {"width": 1280, "height": 900}  # pixels of the browser's window: both charts of a run are visible
WIDTH, HEIGHT, FOOT = 960, 675, 40  # pixels of the picture, and of the line of text below it
SCALE = WIDTH / WINDOW["width"]
INK, PAPER = "#23211e", "#f4f2ed"
POINTER = ((0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12))  # pixels from its tip
SENTENCE = "Witty, moving and never less than gripping."
LAPSES = 60  # pictures of a run
PROGRESS = "() => document.querySelector('.stProgress')?.innerText ?? ''"
MOST_MEGABYTES = 3.0


class Recording:
    """Screenshots of a page, each with how long it is shown."""

    def __init__(self, page: Page) -> None:
        """Record `page`, with the pointer in the middle of it."""
        self.page, self.words = page, ""
        self.pointer = (WINDOW["width"] / 2, WINDOW["height"] / 2)  # in the window
        self.frames: list[Image.Image] = []
        self.milliseconds: list[int] = []
        self._font = ImageFont.truetype("DejaVuSans.ttf", 19)

    def shoot(self, milliseconds: int) -> None:
        """Add what is to be seen now; a picture equal to the last one makes that one last longer."""
        image = Image.new("RGB", (WIDTH, HEIGHT + FOOT), INK)
        shot = Image.open(io.BytesIO(self.page.screenshot(animations="disabled"))).convert("RGB")
        image.paste(shot.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (0, 0))
        draw = ImageDraw.Draw(image)
        x, y = (at * SCALE for at in self.pointer)
        draw.polygon([(x + right, y + down) for right, down in POINTER], fill="black", outline="white", width=1)
        draw.text((20, HEIGHT + FOOT // 2), self.words, fill=PAPER, font=self._font, anchor="lm")
        if self.frames and image.tobytes() == self.frames[-1].tobytes():
            self.milliseconds[-1] += milliseconds
        else:
            self.frames.append(image)
            self.milliseconds.append(milliseconds)

    def point(self, target: Locator) -> None:
        """Move the pointer to a part of the page in a few pictures."""
        target.scroll_into_view_if_needed()
        box = target.bounding_box()
        assert box is not None, target
        begin, end = self.pointer, (box["x"] + min(box["width"] / 2, 60), box["y"] + box["height"] / 2)
        for part in (0.4, 0.75, 0.95, 1.0):
            self.pointer = tuple(one + (other - one) * part for one, other in zip(begin, end, strict=True))
            self.shoot(60)
        self.page.mouse.move(*end)
        self.shoot(250)

    def save(self, path: Path, quality: int) -> float:
        """Write the animation and return its size in megabytes."""
        first, *rest = self.frames
        first.save(
            path, save_all=True, append_images=rest, duration=self.milliseconds, loop=0, quality=quality, method=4
        )
        return path.stat().st_size / 1e6


def settled(page: Page) -> None:
    """Wait until the page is not being drawn."""
    page.wait_for_timeout(400)
    page.get_by_test_id("stStatusWidget").wait_for(state="detached", timeout=120_000)
    page.wait_for_timeout(300)


def explain(recording: Recording) -> None:
    """Type a sentence and show its maps."""
    page = recording.page
    recording.words = "1  Explain: a teacher and two students read one sentence"
    field = page.get_by_role("textbox", name="Sentence")
    field.wait_for()
    settled(page)
    recording.shoot(1200)
    recording.point(field)
    field.fill("")
    for end in range(4, len(SENTENCE) + 4, 4):
        field.fill(SENTENCE[:end])
        recording.shoot(70)
    field.press("Enter")
    settled(page)
    page.locator(".dl-map .dl-cell").first.wait_for()
    recording.shoot(3500)


def distill(recording: Recording, steps: int) -> None:
    """Start an AD-KD run and show its curves grow until it has ended."""
    page = recording.page
    recording.words = "2  Distill: train a student by AD-KD"
    link = page.get_by_role("link", name="Distill", exact=True).first
    recording.point(link)
    link.click()
    button = page.get_by_role("button", name="Start", exact=True)
    button.wait_for()
    settled(page)
    recording.shoot(1500)
    field = page.get_by_role("spinbutton", name="Steps", exact=True)
    if field.is_visible():
        recording.point(field)
        field.fill(str(steps))
        field.press("Enter")
        settled(page)
    recording.point(button)
    button.click()
    page.wait_for_url(re.compile(r"[?&]run="))
    recording.words = "3  Watch it learn (time lapse)"
    page.locator(".st-key-loss_curves canvas").wait_for()
    ended = page.get_by_role("link", name="Explain with this student")
    shown = -LAPSES
    while not ended.is_visible():
        progress = re.search(r"step (\d+) of", page.evaluate(PROGRESS))
        if progress and int(progress[1]) - shown >= steps / LAPSES:
            shown = int(progress[1])
            recording.shoot(130)
        page.wait_for_timeout(300)
    settled(page)
    recording.shoot(2000)


def explain_student(recording: Recording) -> None:
    """Explain the sentence with the student of the run."""
    page = recording.page
    recording.words = "4  See what the new student sees in the same sentence"
    link = page.get_by_role("link", name="Explain with this student")
    recording.point(link)
    link.click()
    page.locator('.dl-model[title^="run/"]').first.wait_for()
    settled(page)
    recording.shoot(4500)


def record(home: Path, steps: int) -> Recording:
    """Start the app with a home folder and record the story in a browser."""
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    environment = os.environ | {"DISTILL_HOME": str(home)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
            page = browser.new_page(viewport=WINDOW, color_scheme="light")
            page.set_default_timeout(180_000)
            page.goto(f"http://127.0.0.1:{port}/explain")
            recording = Recording(page)
            explain(recording)
            distill(recording, steps)
            explain_student(recording)
            browser.close()
        return recording
    finally:
        server.terminate()
        server.wait()


def main(
    to: Annotated[Path, typer.Option(help="the file to write")] = ROOT / "docs" / "demo.webp",
    steps: Annotated[int, typer.Option(help="steps of the recorded run")] = 120,
) -> None:
    """Record the story and write it at the best quality that fits the size limit."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        recording = record(Path(folder), steps)
    seconds = sum(recording.milliseconds) / 1000
    for quality in (80, 65, 50, 35):
        megabytes = recording.save(to, quality)
        if megabytes <= MOST_MEGABYTES:
            print(f"{to}: {len(recording.frames)} pictures, {seconds:.0f} s, {megabytes:.1f} MB, quality {quality}")
            print(f"(recorded in {time.monotonic() - began:.0f} s)")
            return
    raise SystemExit(f"{to} has {megabytes:.1f} MB even at quality {quality}; record fewer steps.")


if __name__ == "__main__":
    typer.run(main)
