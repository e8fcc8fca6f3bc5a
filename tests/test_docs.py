"""The documents are true: links lead somewhere, promised tests exist, command lines shown can be typed."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "assets" / "examples" / "README.md"],
    key=lambda path: path.as_posix(),
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:python -m distill_core|distillation-lens) ([a-z][^`|]*)")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    wrong = []
    for page in PAGES:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if link.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                wrong.append(f"{page.relative_to(ROOT)}: {link}")
    assert wrong == []


def test_every_page_of_documentation_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text(encoding="utf-8"))
    }
    assert [page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md") if page not in linked] == []


def test_every_guarantee_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line and "| test |" not in line]
    assert len(rows) > 20
    missing = [row for row in rows if "`" not in row.split("|")[-2]]
    for row in rows:
        for named in re.findall(r"`([^`]+)`", row.split("|")[-2]):
            path, _, function = named.partition("::")
            if not (TESTS / path).exists() or (function and function not in functions_of(TESTS / path)):
                missing.append(named)
    assert missing == []


def functions_of(path: Path) -> set[str]:
    """Return the names of a module's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def commands() -> list[tuple[str, str]]:
    """Return each command line that the documents show, with the page it is on."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
        shown = [*re.findall(r"```(?:sh|bash)\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
        lines = [line for block in shown for line in block.splitlines()]
        found += [(page.name, words) for line in lines for words in COMMAND.findall(line.partition("  #")[0])]
    return found


def test_every_command_line_shown_is_one() -> None:
    from distill_core.cli import app

    assert len(commands()) > 15
    wrong = []
    for page, line in commands():
        command: Any = typer.main.get_command(app)
        words = shlex.split(line)
        while words and hasattr(command, "commands"):
            command = command.commands.get(words.pop(0))
        options = {name for option in getattr(command, "params", ()) for name in (*option.opts, *option.secondary_opts)}
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
        if command is None or unknown:
            wrong.append(f"{page}: {line} {unknown}")
    assert wrong == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
