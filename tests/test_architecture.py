"""Rules over many files; each test names every offender. `make lint` holds which package may import which."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from distill_core.config.attribution_methods import ATTRIBUTION_METHODS
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.data.tasks import TASKS

ROOT = Path(__file__).parent.parent
FOLDERS = ("distill_core", "pages", "scripts", "benchmarks", "tests")
SOURCES = [ROOT / "app.py", *sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 500, 60  # where to stop and think; a longer one needs a reason and a raised limit
MAX_ARCHITECTURE_LINES = 150

LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in LINTER["contracts"]}
LIGHT = [name.removeprefix("distill_core.") for name in CONTRACTS["light"]["source_modules"]]
LIGHT_COMMANDS = ("cli", "worker")  # they import what is heavy inside functions
TASK_TABLES = {  # files that hold data by task; a task's name is no condition in them either
    "distill_core/config/recipes.py", "distill_core/data/glue.py", "distill_core/data/tasks.py",
    "distill_core/model_import/hub.py",
}  # fmt: skip
FIRST_CHOICES = {  # files in which a task's name is the first choice in a form, a command or a page
    "distill_core/cli/data.py", "distill_core/cli/explain.py", "distill_core/config/run_config.py",
    "pages/components/explain/view_state.py",
}  # fmt: skip


ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
TREE, ARROWS = re.findall(r"^```\n(.*?)^```$", ARCHITECTURE, re.MULTILINE | re.DOTALL)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_files_and_functions_are_small_and_modules_say_what_they_are() -> None:
    offenders = []
    for path in SOURCES:
        text, name = path.read_text(encoding="utf-8"), relative(path)
        tree = ast.parse(text)
        if (lines := len(text.splitlines())) > MAX_FILE_LINES:
            offenders.append(f"{name} has {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                offenders += [f"{name}: {node.name} has {lines} lines"] * (lines > MAX_FUNCTION_LINES)
        if text and not ast.get_docstring(tree):
            offenders.append(f"{name} has no docstring")
    assert not offenders, "\n".join(offenders)


def modules_in_tree() -> list[str]:
    """Return the path of every module that the tree in ARCHITECTURE.md names, from its indentation."""
    folders: list[tuple[int, str]] = []  # indentation and path of the folders around a line
    modules = []
    for line in TREE.splitlines():
        first, *rest = line.split()
        depth = len(line) - len(line.lstrip())
        if first.endswith("/"):
            folders = [folder for folder in folders if folder[0] < depth]
            folders.append((depth, (folders[-1][1] if folders else "") + first))
        elif first.endswith(".py"):
            around = [path for indentation, path in folders if indentation < depth]
            names = [first, *rest] if all(word.endswith(".py") for word in rest) else [first]
            modules += [(around[-1] if around else "") + name for name in names]
    return modules


def test_the_tree_in_the_architecture_is_the_tree_of_files() -> None:
    modules = modules_in_tree()
    files = [relative(path) for path in SOURCES if path.parts[len(ROOT.parts)] in ("app.py", "distill_core", "pages")]
    existing = {name for name in files if not name.endswith("__init__.py")}
    offenders = [f"{name} is missing in the tree" for name in sorted(existing - {*modules})]
    offenders += [f"{name} is in the tree, but there is no such file" for name in sorted({*modules} - existing)]
    offenders += [f"{name} is in the tree twice" for name in sorted({*modules}) if modules.count(name) > 1]
    paths = re.findall(r"`((?:distill_core|pages|assets|tests|scripts|docs)/[\w/.]*)`", ARCHITECTURE)
    offenders += [f"{path} does not exist" for path in paths if not (ROOT / path).exists()]
    assert not offenders, "ARCHITECTURE.md:\n" + "\n".join(offenders)
    assert len(paths) > 20
    assert len(ARCHITECTURE.splitlines()) <= MAX_ARCHITECTURE_LINES


def test_the_arrows_in_the_architecture_are_those_of_the_linter() -> None:
    layers = [(id_, " > ".join(row["layers"])) for id_, row in CONTRACTS.items() if row["type"] == "layers"]
    rows = re.split(r"\n(?=\w)", ARROWS.strip())
    assert [tuple(" ".join(row.split()).split(" ", 1)) for row in rows] == layers
    below = re.split(r" [>:] ", dict(layers)["core"].split("> models > ")[1])
    assert sorted(LIGHT) == sorted(below)


def imported_names(node: ast.AST) -> Iterator[str]:
    """Yield the full dotted name of everything that an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_pages_import_only_their_frame_before_the_loading_block() -> None:
    offenders = []
    for page in PAGES:
        tree = parsed(page)
        loading = [node for node in tree.body if isinstance(node, ast.With) and "loading" in ast.dump(node.items[0])]
        inside = {id(node) for block in loading for node in ast.walk(block)}
        for node in ast.walk(tree):
            if id(node) not in inside:
                offenders += [
                    f"{relative(page)}:{node.lineno} imports {name}"
                    for name in imported_names(node)
                    if name.split(".")[0] in ("distill_core", "pages")
                    and not name.startswith("pages.components.page_frame")
                ]
    assert not offenders, "\n".join(offenders)


# Imports each module named on the command line with the heavy libraries blocked, and prints those that ask for one.
IMPORT_WITHOUT_HEAVY = """
import importlib, sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

asked = []

class Refuse(Loader):
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        asked.append(module.__name__)
        raise ImportError(module.__name__)

class Heavy(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, Refuse()) if name in ("torch", "transformers", "captum") else None

sys.meta_path.insert(0, Heavy())
for name in sys.argv[1:]:
    asked.clear()
    try:
        importlib.import_module(name)
    except ImportError:
        if not asked:
            raise
    if asked:
        print(f"{name} imports {asked[0]}")
"""


def test_reading_runs_imports_no_torch() -> None:
    names = ["distill_core"]
    for package in (*LIGHT, *LIGHT_COMMANDS):
        path = ROOT / "distill_core" / package
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        names += [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    command = [sys.executable, "-c", IMPORT_WITHOUT_HEAVY, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def decisions(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and task of every comparison, match case and string test with a task's name."""
    for node in ast.walk(tree):
        tests: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            tests = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            tests = [node.value]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("startswith", "endswith"):
            tests = list(node.args)
        for part in (part for test in tests for part in ast.walk(test)):
            if isinstance(part, ast.Constant) and part.value in TASKS:
                yield part.lineno, part.value


def test_no_task_name_decides_anything() -> None:
    offenders = []
    for path in SOURCES:
        name = relative(path)
        if name.split("/")[0] not in ("app.py", "distill_core", "pages"):
            continue
        tree = parsed(path)
        offenders += [f"{name}:{line} decides by {task!r}" for line, task in decisions(tree)]
        if name not in TASK_TABLES | FIRST_CHOICES:
            offenders += [
                f"{name}:{node.lineno} names {node.value!r}"
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and node.value in TASKS
            ]
    assert not offenders, "\n".join(offenders)


def test_every_method_is_documented() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [key for key in (*ATTRIBUTION_METHODS, *DISTILLATION_METHODS) if f"`{key}`" not in readme] == []
    pages = {path.stem for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert pages == {*DISTILLATION_METHODS, "README"}


def test_the_scripts_say_how_they_are_run() -> None:
    scripts = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "scripts").glob("*.py")])
    modules = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in scripts}
    offenders = [name for path, name in modules.items() if f"python -m {name}" not in path.read_text(encoding="utf-8")]
    assert not offenders, "\n".join(offenders)
    command = [sys.executable, "-m", "benchmarks.short_run", "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
