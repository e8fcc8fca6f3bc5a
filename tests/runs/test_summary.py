"""All runs side by side: what each reached, what a search finds, how settings differ."""

import math

from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.runs.events import DataUsed
from distill_core.runs.store import BEST_EVALUATIONS, LAST_EVALUATIONS, Store
from distill_core.runs.summary import data_used_words, differences, overview, search_runs, tags_of
from tests.support.stored_runs import FAKE_TOKEN as TOKEN


def measured(store: Store, run_id: str, config: RunConfig, *points: tuple[int, str, float]) -> str:
    """Make a finished run with these points."""
    assert store.add(run_id, config)
    assert store.claim(lambda _: ("cpu",), TOKEN, only=run_id) is not None
    store.write(run_id, TOKEN, points, None)
    store.end(run_id, TOKEN, "finished")
    return run_id


def test_a_run_is_told_by_its_last_evaluation_in_its_tasks_metric(store: Store) -> None:
    measured(
        store,
        "sst2",
        RunConfig(),
        (0, "validation/accuracy", 0.5),
        (20, "loss", 0.1),
        (20, "validation/accuracy", 0.8),
        (20, "agreement/signed_cosine", math.nan),
    )
    measured(store, "cola", RunConfig(task="cola"), (5, "validation/accuracy", 0.9), (5, "agreement/cosine", 0.9))
    store.add("waits", RunConfig())
    waits, cola, sst2 = overview(store)
    assert (sst2.run.id, sst2.score, sst2.measured_at) == ("sst2", 0.8, 20)
    assert math.isnan(sst2.agreement)  # as it was written
    assert (cola.measured_at, math.isnan(cola.score)) == (None, True)  # its metric is another
    assert (waits.seconds, waits.measured_at) == (None, None)
    assert sst2.seconds is not None


def test_the_best_is_the_highest_of_a_student_that_has_learnt(store: Store) -> None:
    name = "validation/accuracy"
    measured(store, "one", RunConfig(), (0, name, 0.9), (10, name, 0.7), (20, name, 0.8), (30, name, 0.6))
    measured(store, "none", RunConfig(), (0, name, 0.9), (10, name, math.nan))
    none, one = overview(store)
    assert (one.score, one.best, one.measured_at) == (0.6, 0.8, 30)
    assert (math.isnan(none.score), math.isnan(none.best), none.measured_at) == (True, True, 10)


def test_what_a_run_took_back_does_not_count(store: Store) -> None:
    run_id = measured(store, "one", RunConfig(), (10, "validation/accuracy", 0.7), (20, "validation/accuracy", 0.8))
    assert not store.requeue(run_id)  # finished
    assert store.add("two", RunConfig())
    assert store.claim(lambda _: ("cpu",), TOKEN, only="two")
    store.write("two", TOKEN, [(10, "validation/accuracy", 0.7), (20, "validation/accuracy", 0.8)], None)
    store.end("two", TOKEN, "lost")
    assert store.requeue("two")
    assert store.claim(lambda _: ("cpu",), TOKEN, only="two")
    store.rewind("two", TOKEN, 10)
    assert [outcome.score for outcome in overview(store)] == [0.7, 0.8]
    store.end("two", TOKEN, "stopped")


def test_the_query_reads_the_index_alone(store: Store) -> None:
    with store.connection() as connection:
        for query in (LAST_EVALUATIONS, BEST_EVALUATIONS):
            plan = " ".join(str(tuple(row)) for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))
            assert "COVERING INDEX evaluations" in plan, plan


def test_data_are_told_apart_by_their_digest() -> None:
    used = [DataUsed("validation_matched", "Films", 160, "ab" * 32), DataUsed("train", "Films", 2060, "cd" * 32)]
    assert data_used_words(used) == {
        "Training data used": "2,060 from Films (cdcdcdcd)",
        "Validation data used": "160 from Films (abababab)",
    }
    assert data_used_words([]) == {}


def test_every_word_must_occur_somewhere(store: Store) -> None:
    measured(store, "a", RunConfig(name="Paper, first try", method="ad_kd"))
    measured(store, "b", RunConfig(name="second", task="cola", method="kd"))
    store.annotate("b", note="to be REPEATED", tags=["paper", "ü"])
    found = overview(store)

    def ids(words: str = "", **filters: tuple[str, ...]) -> list[str]:
        return [outcome.run.id for outcome in search_runs(found, words, **filters)]

    assert ids() == ["b", "a"]
    assert ids("PAPER") == ["b", "a"]
    assert ids("paper try") == ["a"]
    assert ids("repeated") == ["b"]
    assert ids("ad-kd") == ["a"]
    assert ids("%") == ids("*") == []
    assert ids(states=("finished",), tasks=("cola",)) == ["b"]
    assert ids(methods=("kd", "gkd")) == ["b"]
    assert ids(tags=("paper", "ü")) == ["b"]
    assert ids(tags=("paper", "other")) == []
    assert tags_of(found) == ["paper", "ü"]


def test_differences_are_the_settings_that_are_not_the_same_everywhere() -> None:
    one, other = RunConfig(name="one"), RunConfig(name="other", method="gkd", micro_batch=8)
    assert differences([one, other]) == {"method": ("ad_kd", "gkd"), "micro_batch": (None, 8), "dropout": ("on", "off")}
    assert differences([one]) == {}
    assert set(differences([one, other])) <= set(FIELDS)
