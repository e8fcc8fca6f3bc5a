"""Command lines shown on a page or in a message do what they say when pasted into a shell, in any folder."""

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from distill_core import shell_command as module
from distill_core.config.run_config import RunConfig
from distill_core.data.user_datasets import list_user_datasets, read_user_rows
from distill_core.errors import DataError
from distill_core.runs.store import Store
from distill_core.shell_command import shell_command
from tests.support.command_line import call


def pasted(line: str, folder: Path, answer: str = "") -> str:
    """Run a line in a shell that knows nothing of this process, and return what it prints."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=environment,
        input=answer,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def odd_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a home folder, relative to the working directory, whose name a shell would take apart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_HOME", "my home; it's $HOME")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path / "my home; it's $HOME"


def test_a_line_works_on_the_same_home_from_another_folder(odd_home: Path, tmp_path: Path) -> None:
    name = 'it\'s "my" $run'
    assert Store().add("one", RunConfig(name=name))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "typer.py").write_text("raise SystemExit('the working directory is on sys.path')")
    shown = json.loads(pasted(shell_command("runs", "list", name, "--json"), elsewhere))
    assert [(run["run"], run["name"]) for run in shown] == [("one", name)]
    assert odd_home.is_dir()


@pytest.mark.usefixtures("odd_home")
def test_runs_show_prints_the_line_that_repeats_the_run() -> None:
    store = Store()
    assert store.add("one", RunConfig(name="it's mine", seed=7, teacher="a folder/with spaces " * 5))
    line = store.get("one").local_command
    assert f"again: {line}\n" in call("runs", "show", "one").stderr
    assert line.startswith(f"PYTHONPATH={module.CODE} DISTILL_HOME=")


def test_the_line_in_an_error_does_what_the_error_says(odd_home: Path, tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.csv"
    reviews.write_text("sentence,label\n" + "".join(f"text {at},{at % 2}\n" for at in range(40)))
    added = call("data", "add", str(reviews), "--task", "sst2", "--json")
    assert added.returncode == 0, added.stderr
    (data,) = list_user_datasets()
    for file in (odd_home / "data").rglob("train.*"):
        file.write_text("damaged")
    with pytest.raises(DataError, match="is damaged") as error:
        read_user_rows(data, "train")
    pasted(str(error.value).partition("To remove it: ")[2], tmp_path, "y\n")
    assert list_user_datasets() == []


def test_an_installed_package_is_not_put_on_the_path_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CODE", Path(sysconfig.get_path("purelib")).resolve())
    monkeypatch.delenv("DISTILL_HOME")
    assert "=" not in shell_command("runs", "list")


def test_a_relative_pythonpath_means_the_same_folders_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("elsewhere", "beside"):
        (tmp_path / folder).mkdir()
    (tmp_path / "beside" / "sitecustomize.py").write_text("import sys\nprint('found', file=sys.stderr)\n")
    monkeypatch.setenv("PYTHONPATH", f"beside{os.pathsep}{os.pathsep}/absolute")
    line = shell_command("runs", "list")
    path = shlex.split(line)[0].removeprefix("PYTHONPATH=").split(os.pathsep)
    assert path == [str(module.CODE), str(tmp_path / "beside"), "/absolute"]
    assert "found" in pasted(f"{line} 2>&1", tmp_path / "elsewhere")


def test_a_line_names_the_home_that_the_cache_variable_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTILL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "my cache"))
    assert Store().add("one", RunConfig(name="mine"))
    shown = json.loads(pasted(shell_command("runs", "list", "--json"), tmp_path))
    assert [run["run"] for run in shown] == ["one"]


@pytest.mark.parametrize("executable", ["", None])
def test_a_line_without_a_known_interpreter_names_python(
    monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert " python3 -P -m distill_core runs list" in shell_command("runs", "list")
