"""The house keeps its shape: arrows point one way, the light half stays light, files stay small, papers stay true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "distill_core"
SOURCES = sorted(
    p for folder in ("distill_core", "pages", "scripts", "benchmarks", "tests") for p in (ROOT / folder).rglob("*.py")
)
SOURCES.append(ROOT / "app.py")


def test_no_streamlit_in_the_core() -> None:
    for path in CORE.rglob("*.py"):
        assert not re.search(r"^\s*(import|from) streamlit", path.read_text(encoding="utf-8"), re.MULTILINE), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
    if path.name != "__init__.py" or text:
        assert ast.get_docstring(ast.parse(text)), "a module says in its first line what it is"


@pytest.mark.parametrize("page", [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))], ids=lambda p: p.name)
def test_a_page_shows_its_frame_and_then_loads_alone(page: Path) -> None:
    tree = ast.parse(page.read_text(encoding="utf-8"))
    loading = [node for node in tree.body if isinstance(node, ast.With) and "loading" in ast.dump(node.items[0])]
    inside = {id(node) for block in loading for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside:
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None) or names[0]
            assert module.split(".")[0] not in ("distill_core", "pages") or module == "pages.components.page_frame", (
                names
            )


def test_no_task_name_decides_anything() -> None:
    for path in CORE.rglob("*.py"):
        if path.name not in ("tasks.py", "config.py") and path.parent.name != "cli":  # the list itself, and defaults
            assert not re.search(r"[=!]= *[\"'](sst2|mnli|cola|stsb)", path.read_text(encoding="utf-8")), path


def test_readme_names_every_method() -> None:
    from distill_core import attribution
    from distill_core.config import methods

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [
        key for key in (*attribution.ATTRIBUTION_METHODS, *methods.DISTILLATION_METHODS) if f"`{key}`" not in readme
    ] == []
    pages = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert pages == {*methods.DISTILLATION_METHODS, "README"}


def test_the_scripts_run_as_they_say() -> None:
    for path in sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "scripts").glob("*.py")]):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert f"python -m {module}" in path.read_text(encoding="utf-8"), path
    command = [sys.executable, "-m", "benchmarks.accuracy_table", "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
