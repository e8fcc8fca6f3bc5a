"""The card says what the run was; whatever names it holds, its header is YAML and its text is text."""

import re
import shlex
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from distill_core.catalog.catalog import ModelInfo
from distill_core.config.methods import DISTILLATION_METHODS, terms_of
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.data.tasks import TASKS
from distill_core.errors import ModelError
from distill_core.export.model_card import code_block, markdown_text, model_card
from distill_core.runs.events import DataUsed
from distill_core.runs.run import MetricPoint, Run
from distill_core.runs.store import Store

NASTY = (
    "a: b", "it's \"quoted\"", "back\\slash", "- item", "# head", "<script>alert(1)</script>", "<b>&amp;</b>",
    "![x](http://evil/x.png)", "[x](javascript:alert(1))", "`code` ```", "a | b", "*a* _b_ ~~c~~ $d$", "{{ x }}",
    "www.evil.org https://evil.org me@evil.org :smile:", "---", "%TAG", "null", "Ünï 🎬 文", "\u2028\u2029\u0085end",
)  # fmt: skip
INFO = ModelInfo("run/one", "One", "sst2", Path("x"), "run", 3, 384, 17_390_594, "", "bert", ("negative", "positive"))
DATA = (
    DataUsed("train", "GLUE folder /data/glue", 6400, "a" * 64),
    DataUsed("validation", "GLUE folder /data/glue", 872, "b" * 64),
)
RECORD = {
    "step": 200, "best": 100, "versions": {"torch": "2.13.0"}, "fingerprints": {"teacher": "c" * 64},
}  # fmt: skip


def a_run(config: RunConfig) -> Run:
    store = Store()
    store.add("one", config)
    return replace(store.get("one"), config=config)


def card_of(
    record: dict[str, Any] | None = None, data: tuple[DataUsed, ...] = DATA, points: Any = (), **settings: object
) -> str:
    run = a_run(RunConfig.from_values(settings))
    numbered = [MetricPoint(at, *point) for at, point in enumerate(points)]
    return model_card(run, INFO, RECORD if record is None else record, data, numbered)


def header(card: str) -> dict[str, Any]:
    _, text, _ = card.split("---\n", 2)
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


class _Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, card: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        body = card.split("---\n", 2)[2]
        self.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(body))

    def handle_starttag(self, tag: str, _: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_header_is_what_the_hub_reads() -> None:
    assert header(card_of()) == {
        "language": ["en"],
        "pipeline_tag": "text-classification",
        "library_name": "transformers",
        "tags": ["knowledge-distillation", "distillation-lens", "ad_kd"],
        "teacher": "bundled/sst2-teacher",
        "datasets": ["glue/sst2"],
        "metrics": ["accuracy"],
    }
    assert header(card_of(task="mrpc"))["metrics"] == ["f1", "accuracy"]


@pytest.mark.parametrize(
    ("source", "data", "glue"),
    [
        ("auto", DATA, True),
        ("hub", (), True),
        ("auto", (DataUsed("train", "nyu-mll/glue (Hugging Face hub)", 1, "a"),), True),
        ("auto", (), False),
        ("bundled", (DataUsed("train", "bundled sample (written for this app)", 1, "a"),), False),
        ("auto", (DataUsed("train", "bundled sample (written for this app)", 1, "a"),), False),
        ("own/abc", (DataUsed("train", "GLUE folder of mine", 1, "a"),), False),
    ],
)
def test_glue_is_named_only_where_the_examples_were_glues(source: str, data: Any, glue: bool) -> None:
    assert ("datasets" in header(card_of(data=data, source=source))) == glue


@pytest.mark.parametrize("text", [text for text in NASTY if text.isprintable()])  # a config refuses the others
def test_any_teacher_is_a_yaml_string(text: str) -> None:
    assert header(card_of(teacher=text))["teacher"] == text


@pytest.mark.parametrize("text", [*NASTY, "line\nbreak\r\n\n# head", "\t    indented", "1. one", "=== "])
def test_any_text_is_nothing_but_text_in_markdown(text: str) -> None:
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(f"Name: {markdown_text(text)}")
    assert set(re.findall(r"</?(\w+)", html)) == {"p"}
    shown = unescape(re.sub(r"</?p>", "", html)).strip()
    assert shown == " ".join(f"Name: {text}".split())
    row = MarkdownIt("gfm-like", {"linkify": False}).render(
        f"| a | b |\n| --- | --- |\n| {markdown_text(text)} | end |"
    )
    assert row.count("<td>") == 2


def test_links_and_mentions_are_broken() -> None:
    for text in ("https://evil.org", "www.evil.org", "WWW.evil.org", "me@evil.org"):
        assert text not in markdown_text(text)


@pytest.mark.parametrize("text", NASTY)
def test_a_card_of_any_names_is_well_formed(text: str) -> None:
    line = text.replace("\u0085", "")  # no setting holds a control character
    data = (DataUsed("train", text, 7, text), DataUsed(text, text, 8, "b"))
    record: dict[str, Any] = {"step": 1, "versions": {text: text}, "fingerprints": {"teacher": text}}
    card = card_of(record, data, name=line, teacher=line, student_init=line, source=line)
    assert header(card)["teacher"] == line
    page = _Page(card)
    assert page.tags <= set("h1 h2 p strong em code pre ul li table thead tbody tr th td".split())
    for name in ("script", "b", "img", "a", "del"):
        assert name not in page.tags
    assert f"--teacher={line}" in shlex.split(page.text.split("Do it again")[1].split("Made with")[0])
    assert page.text.count("How to load it") == 1
    card.encode()


def test_a_fence_is_longer_than_any_in_its_code() -> None:
    assert code_block("a ``` b", "sh") == "````sh\na ``` b\n````"
    assert code_block("a", "sh") == "```sh\na\n```"


@pytest.mark.parametrize("method", DISTILLATION_METHODS)
@pytest.mark.parametrize("task", ["sst2", "stsb"])
def test_every_method_is_told_with_its_terms_and_papers(method: str, task: str) -> None:
    card = card_of(method=method, task=task, alpha=0.8, kd_form="kl")
    info = DISTILLATION_METHODS[method]
    assert f"**{info.title}** (`{method}`)" in card
    for term in terms_of(method, task == "stsb", "kl"):
        assert term.words in card
    assert "weight 0.2." in card
    for paper in info.papers:
        assert paper.citation in card
        assert paper.url.endswith(paper.identifier.split()[1])


def test_papers_are_those_of_the_methods_pages() -> None:
    root = Path(__file__).parents[2] / "docs" / "methods"
    pages = {path.stem: path.read_text(encoding="utf-8") for path in root.glob("*.md")}
    everything = " ".join(pages.values())
    for key, method in DISTILLATION_METHODS.items():
        for paper in method.papers:
            number = paper.identifier.split()[1]
            assert number in everything
            assert len(method.papers) > 1 or number in pages[key] or "gkd" in key


def test_the_probe_has_as_many_sentences_as_the_card_says() -> None:
    assert "at most 64 validation sentences" in card_of(points=[(1, "agreement/cosine", 0.5)])


def test_every_setting_that_is_not_the_default_is_listed() -> None:
    changed = {"steps": 7, "kd_form": "kl", "micro_batch": 4, "name": "mine", "seed": 3}
    rows = re.findall(r"^\| .* \(`(\w+)`\) \| (.*) \|$", card_of(**changed), re.MULTILINE)
    assert dict(rows) == {name: str(value) for name, value in changed.items()}
    assert [name for name, _ in rows] == [name for name in FIELDS if name in changed]
    assert "## Settings that are not the default\n\nNone." in card_of()


def test_results_are_of_the_checkpoint_the_run_and_what_it_is_measured_by() -> None:
    points = [
        (0, "constant/accuracy", 0.509), (0, "teacher/accuracy", 0.901), (0, "validation/accuracy", 0.99),
        (100, "validation/accuracy", 0.85), (100, "agreement/cosine", 0.7), (200, "validation/accuracy", 0.8),
        (200, "agreement/cosine", float("nan")), (300, "validation/accuracy", 0.82), (300, "loss", 1.0),
    ]  # fmt: skip
    card = card_of(points=points, steps=400)
    row = "| accuracy | 0.8000 (200) | 0.8200 (300) | 0.8500 (100) | 0.9010 | 0.5090 |"
    assert row in card
    assert "| agreement/cosine | not defined (200) | not defined (200) | 0.7000 (100) | – | – |" in card
    assert "after step 200 of 400; its best evaluation was after step 100." in card
    assert "| teacher | majority-class baseline |" in card
    assert "loss |" not in card
    assert "after step 100 of 400, its best evaluation." in card_of({"step": 100, "best": 100}, steps=400)
    assert "Nothing was measured." in card_of()


def test_a_regression_is_told_by_scores() -> None:
    points = [(1, "validation/pearson", float("nan")), (1, "validation/spearmanr", 0.5)]
    card = card_of(task="stsb", points=points)
    assert "It answers with a score from 0 to 5." in card
    assert "| pearson | not defined (1) | not defined (1) | – | – | – |" in card
    assert "no correlation |" in card
    assert "print(float(logits))" in card
    assert 'tokenizer("First sentence.", "Second sentence.",' in card


def test_what_was_not_recorded_is_said() -> None:
    card = card_of({}, ())
    assert "The training data were not recorded." in card
    assert "versions that were not recorded" in card


def test_data_and_versions_are_told() -> None:
    card = card_of()
    assert f"| train | GLUE folder /data/glue | 6,400 | {'a' * 64} |" in card
    assert "Made with torch 2.13.0." in card
    assert "c" * 64 in card


def test_the_state_of_the_run_is_told() -> None:
    run = replace(a_run(RunConfig()), state="failed", reason="<b>No</b> space")
    card = model_card(run, INFO, RECORD, DATA, [])
    assert "Run one: failed (&lt;b&gt;No&lt;/b&gt; space)." in card


@pytest.mark.parametrize("student", ["first", "even", "last", "random", "org/model"])
def test_what_the_student_began_as_is_told(student: str) -> None:
    words = {"random": "random weights in 2 layers,", "org/model": "the model org/model,"}
    card = card_of(student_init=student, student_layers=2)
    assert f"The student began as {words.get(student, '')}" in card
    assert ("2 of them" in card) == (student in ("first", "even", "last"))


@pytest.mark.parametrize("record", [{"step": "1"}, {"step": True}, {"best": -1}, {"versions": [1]}])
def test_a_damaged_record_is_named(record: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="record is damaged"):
        card_of(record)


@pytest.mark.parametrize("task", TASKS)
def test_the_header_names_the_tasks_metrics(task: str) -> None:
    found = header(card_of(task=task))
    assert tuple(found["metrics"]) == TASKS[task].metrics
    assert found["datasets"] == [f"glue/{task}"]
