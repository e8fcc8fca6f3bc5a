"""A run may be called anything that is a line of text: safe in paths, on pages, in exports and on the command line."""

import json
import re
import shlex
import unicodedata
from pathlib import Path

import pytest
import yaml
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from distill_core.catalog.deletion import rename_run
from distill_core.cli import app
from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError
from distill_core.export.run_export import EXPORT_KINDS, export_run
from distill_core.models.encoder import load_model
from distill_core.paths import home
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from pages.components.page_frame import escape_markdown
from pages.components.run import detail
from tests.support.opening import as_read
from tests.support.opening import open_home as open_home
from tests.support.saved_students import add_run_with_student

ROOT = Path(__file__).resolve().parents[2]
TURNED = "abc \u202edef\u2066"  # the rest of its line would be read backwards
NAMES = (
    "../../etc/passwd",
    "..",
    "C:\\con\\nul | ~root/$HOME; rm -rf /",
    "<script>alert(1)</script><b onclick='x'>&amp;</b>",
    "[red]**bold** :smile: $x$ [a](http://b.example)[/red] {x!r}",
    "=HYPERLINK(1)'; DROP TABLE runs; --",
    "蒸留 дистилляция आसवन 🧪 e\u0301",
    "تجربة 12 التقطير",
    TURNED,
    "x" * 200,
)
FENCED = re.compile(r"^(`{3,})\w+\n.*?^\1$", re.MULTILINE | re.DOTALL)  # a block of code in Markdown
REFUSED = ("x" * 201, "x" * 10_000, "a\x00b", "two\nlines", "\x1b[31mred", "a\u0085b", "half \ud800")


@pytest.fixture
def named(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a waiting run of every name, by its id; no device becomes free."""
    monkeypatch.setattr(Store, "claim", lambda *_: None)
    return {enqueue(store, RunConfig(name=name, device="cpu")): name for name in NAMES}


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def controls(text: str) -> set[str]:
    """Return what would command a terminal or turn its lines."""
    return {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf")} - {"\n"}


# paths -----------------------------------------------------------------------------------------


def test_no_name_becomes_part_of_a_path(store: Store, named: dict[str, str]) -> None:
    before = set(home().parent.rglob("*"))
    for run_id, name in named.items():
        assert rename_run(store, run_id, name).title == name
    assert set(home().parent.rglob("*")) == before
    assert {run.id: run.title for run in store.runs()} == named


# pages -----------------------------------------------------------------------------------------


def without_turns(name: str) -> str:
    return name.replace("\u202e", "").replace("\u2066", "").replace("\\", "")


def test_text_neither_turns_its_surroundings_nor_loses_letters() -> None:
    assert escape_markdown(TURNED) == "abc def"
    assert escape_markdown("تجربة") == "\u2068تجربة\u2069"
    assert escape_markdown("蒸留 é") == "蒸留 é"


def test_home_shows_each_name_as_the_text_it_is(store: Store, named: dict[str, str], own_home: Path) -> None:
    others = list(named)[: len(NAMES) // 2]
    for run_id in others:  # it lists five
        store.cancel(run_id)
    page = open_home(own_home)
    assert not page.exception
    shown = [as_read(bar.proto.text.removesuffix(": queued, step 0 of 200")) for bar in page.get("progress")]
    wanted = [name for run_id, name in named.items() if run_id not in others]
    assert shown == [without_turns(name) for name in reversed(wanted)]


def test_the_list_of_runs_shows_each_name_as_the_text_it_is(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "LATEST_RUNS", len(named))
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=150).switch_page("pages/distill.py")
    page = page.run()
    assert not page.exception
    shown = [as_read(link.proto.label) for link in page.get("page_link") if "run=" in link.proto.query_string]
    assert shown == [without_turns(name) for name in reversed(list(named.values()))]


def test_a_run_of_any_name_can_be_looked_at(named: dict[str, str]) -> None:
    for run_id, name in named.items():
        if "<script>" in name or name == TURNED:
            page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=150).switch_page("pages/distill.py")
            page.query_params["run"] = run_id
            page = page.run()
            assert not page.exception
            html = "\n".join(str(part.proto.body) for part in page.get("html"))
            assert "<script>" not in html
            assert f"<bdi>{name if name == TURNED else '&lt;script&gt;alert(1)'}" in html


# command line and exports ----------------------------------------------------------------------


def test_the_command_line_prints_names_and_takes_them(store: Store, named: dict[str, str]) -> None:
    assert {row["run"]: row["name"] for row in json.loads(call("runs", "list", "--json"))} == named
    assert controls(call("runs", "list")) == set()
    run_id = next(iter(named))
    for name in NAMES:
        store.cancel(run_id)
        assert controls(call("runs", "rename", run_id, "--", name)) == set()
        assert store.get(run_id).title == name


def test_exports_of_a_run_of_any_name_are_whole(store: Store, tmp_path: Path) -> None:
    run_id = add_run_with_student(store)
    for name in NAMES:
        rename_run(store, run_id, name)
        folder = tmp_path / "exports"
        folder.mkdir(exist_ok=True)
        for kind in EXPORT_KINDS:
            export_run(store, store.get(run_id), kind, folder / kind, force=True)
        assert sorted(path.name for path in folder.iterdir()) == sorted(EXPORT_KINDS)
        told = json.loads((folder / "json").read_text(encoding="utf-8"))
        assert name in (told["name"], told.get("title"))
        card = (folder / "model" / "README.md").read_text(encoding="utf-8")
        assert yaml.safe_load(card.split("---")[1])["library_name"] == "transformers"
        shown, code = FENCED.sub("", card), "".join(found.group() for found in FENCED.finditer(card))
        assert "<script>" not in shown
        assert shlex.quote(f"--name={name}") in code  # the line that repeats the run, in a block nothing ends early
    load_model(folder / "model")


# refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_what_is_no_line_of_text_or_too_long_is_refused_with_the_range(store: Store, name: str) -> None:
    wanted = r"Name \(name\) is .*; use a line of 0 to 200 characters"
    with pytest.raises(ConfigError, match=wanted) as refused:
        RunConfig(name=name)
    assert len(str(refused.value)) < 200
    assert controls(str(refused.value)) == set()
    run_id = enqueue(store, RunConfig(name="before", device="cpu"))
    with pytest.raises(ConfigError, match=wanted):
        rename_run(store, run_id, name)
    assert store.get(run_id).title == "before"
