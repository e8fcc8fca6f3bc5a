"""A consent is for the question it answers: that import, and that commit."""

from collections.abc import Iterator

import pytest

from distill_core.errors import NeedsConversion
from distill_core.model_import import hub, importer
from distill_core.model_import.progress import ImportStep
from pages.components.models.add_model import Imports, Progress, Work, _hub_work

PATIENCE = 10.0  # seconds


def asking(name: str, told: list[tuple[str, list[str]]]) -> Work:
    """Return work that notes what was agreed to and asks for more."""

    def work(agreed: frozenset[str]) -> Iterator[Progress]:
        told.append((name, sorted(agreed)))
        yield ImportStep(name, 0, 0)
        raise NeedsConversion(name)

    return work


def test_a_consent_to_a_question_that_is_gone_is_none() -> None:
    imports, told = Imports(), []
    jobs = []
    for name in ("first", "second"):
        imports.begin(name, asking(name, told))
        assert imports.job is not None
        assert imports.job.wait(PATIENCE)
        jobs.append(imports.job)
    imports.agree(jobs[0], "convert")
    imports.dismiss(jobs[0])
    assert imports.job is jobs[1]
    imports.agree(jobs[1], "convert")
    assert imports.job is not jobs[1]
    assert imports.job.wait(PATIENCE)
    assert told == [("first", []), ("second", []), ("second", ["convert"])]
    imports.dismiss(imports.job)
    assert imports.job is None


def test_a_consent_is_for_the_commit_that_was_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    commits, fetched = iter("ab"), []
    monkeypatch.setattr(hub, "fetch_listing", lambda *_: hub.Listing("org/m", next(commits) * 40, "", {}))

    def add(repo: str, task: str, revision: str, convert: bool, reorder: bool) -> Iterator[Progress]:
        fetched.append((repo, task, revision[0], convert, reorder))
        yield ImportStep("", 0, 0)

    monkeypatch.setattr(importer, "add_from_hub", add)
    work = _hub_work("org/m", "sst2", "main")
    for agreed in ((), ("convert",), ("convert", "reorder")):
        list(work(frozenset(agreed)))
    assert fetched == [("org/m", "sst2", "a", *consents) for consents in ((False, False), (True, False), (True, True))]
