"""What can be done with a run on its page: stop, pause, go on, move in the queue, search its log."""

import pytest
from streamlit.testing.v1 import AppTest

from distill_core.catalog import deletion
from distill_core.catalog.catalog import find_model
from distill_core.config.run_config import RunConfig
from distill_core.errors import StoreError
from distill_core.models.encoder import save_model
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs import scheduler
from distill_core.runs.disk_usage import freeable_size
from distill_core.runs.events import DataUsed, Measured
from distill_core.runs.lifecycle import RunState
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import BEST, LAST, RECORD, delete_obsolete_checkpoints, save_last_as_best
from tests.support.opening import NASTY, all_html, as_read, open_distill
from tests.support.stored_runs import FAKE_TOKEN, active_run
from tests.support.tiny import tiny_network, tiny_tokenizer

EXPLAIN = "Explain with this student"


def test_stop_shows_at_once(store: Store) -> None:
    run, _ = active_run(store, Measured(3, {"loss": 1.0}))
    page = open_distill(run.id)
    page.button(key="distill.stop").click().run()
    assert store.get(run.id).stop_requested is not None
    assert page.button(key="distill.stop").disabled
    assert "Stopping" in page.button(key="distill.stop").label
    assert "dl-stopping" in all_html(page)


def test_a_queued_run_says_what_it_waits_for_and_can_be_cancelled(store: Store) -> None:
    active_run(store, name="the first")
    waiting = [scheduler.enqueue(store, RunConfig(device="cpu")) for _ in range(2)][1]
    page = open_distill(waiting)
    assert "number 2 in the queue on CPU" in page.get("progress")[0].proto.text.replace("\\", "")
    assert page.button(key="distill.stop").label == "Cancel"
    page.button(key="distill.stop").click().run()
    assert store.get(waiting).state == "stopped"
    assert "Cancelled while it was queued" in all_html(page)


def test_a_queued_run_can_be_moved(store: Store) -> None:
    active_run(store, name="the first")
    first, second = (scheduler.enqueue(store, RunConfig(device="cpu")) for _ in range(2))
    page = open_distill(second)
    page.button(key="distill.earlier").click().run()
    assert "next on CPU" in page.get("progress")[0].proto.text.replace("\\", "")
    assert store.get(second).position < store.get(first).position
    page.button(key="distill.later").click().run()
    assert "number 2 in the queue" in page.get("progress")[0].proto.text.replace("\\", "")


def test_a_move_that_the_store_refuses_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    active_run(store, name="holds the device")
    page = open_distill(scheduler.enqueue(store, RunConfig(device="cpu")))

    def busy(*_: object) -> bool:
        raise StoreError("The store is busy; try again.")

    monkeypatch.setattr(Store, "reorder", busy)
    page.button(key="distill.earlier").click().run()
    assert not page.exception
    assert any("busy" in said.value for said in page.error)


def test_a_pause_shows_at_once_and_what_is_paused_can_go_on(store: Store) -> None:
    run, _ = active_run(store, Measured(3, {"loss": 1.0}), Measured(9, {"ce": 0.875}))
    page = open_distill(run.id)
    page.button(key="distill.pause").click().run()
    assert store.get(run.id).status == "pausing"
    assert page.button(key="distill.pause").disabled
    assert not page.button(key="distill.stop").disabled
    assert "dl-pausing" in all_html(page)
    folder = run_folder(run.id) / "student"
    folder.mkdir(parents=True)
    (folder / STATE_FILE).touch()
    store.set_model(run.id, FAKE_TOKEN, folder)
    store.end(run.id, FAKE_TOKEN, "paused", "Paused on request at step 9.")
    page = open_distill(run.id)
    assert "0.875" in all_html(page)
    active_run(store, name="another")  # so that it waits
    page.button(key="distill.resume").click().run()
    assert store.get(run.id).state == "queued"


def test_a_second_click_on_resume_says_no_error(store: Store) -> None:
    run, _ = active_run(store, Measured(3, {"loss": 1.0}))
    store.end(run.id, FAKE_TOKEN, "paused", "Paused on request at step 3.")
    page = open_distill(run.id)
    active_run(store, name="another")  # so that it waits
    scheduler.resume(store, run.id)  # by the first click, or in another window
    page.button(key="distill.resume").click().run()
    assert not page.error
    assert store.get(run.id).state == "queued"


def test_a_resume_that_is_refused_is_said(store: Store) -> None:
    run, _ = active_run(store, Measured(3, {"loss": 1.0}))
    state = run_folder(run.id) / LAST / STATE_FILE
    state.parent.mkdir(parents=True)
    state.touch()
    store.set_model(run.id, FAKE_TOKEN, state.parent)
    store.end(run.id, FAKE_TOKEN, "paused", "Paused on request at step 3.")
    page = open_distill(run.id)
    state.unlink()  # freed in another window
    page.button(key="distill.resume").click().run()
    assert any("cannot be resumed" in said.value for said in page.error)
    assert store.get(run.id).state == "paused"


def test_a_run_watched_while_it_goes_on_has_no_point_twice(store: Store) -> None:
    run, _ = active_run(store, *(Measured(step, {"ce": 1.0}) for step in range(1, 8)))
    page = open_distill(run.id)
    store.end(run.id, FAKE_TOKEN, "lost")
    store.requeue(run.id)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN) is not None
    page.run()  # before its worker has taken anything back
    worked = store.get(run.id).worked_seconds(store.get(run.id).started or 0.0)
    store.rewind(run.id, FAKE_TOKEN, 5)
    store.write(run.id, FAKE_TOKEN, [(step, "ce", 2.0) for step in (6, 7, 8)], None)
    page.run()
    points = page.session_state["distill.gathered"].series["ce"]
    assert list(points) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0), (6, 2.0), (7, 2.0), (8, 2.0)]
    again = store.get(run.id)
    assert (again.worked_seconds(again.started or 0.0) or 0.0) >= (worked or 0.0)


def test_points_that_a_run_has_taken_back_are_not_shown(store: Store) -> None:
    run, _ = active_run(store, Measured(3, {"ce": 0.625}), Measured(9, {"ce": 0.875}))
    page = open_distill(run.id)
    assert "0.875" in all_html(page)
    store.end(run.id, FAKE_TOKEN, "lost")
    store.requeue(run.id)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN) is not None
    store.rewind(run.id, FAKE_TOKEN, 3)
    page.run()
    assert "0.875" not in all_html(page)
    assert "0.625" in all_html(page)


def ended(store: Store, **settings: str) -> str:
    run, _ = active_run(store, Measured(3, {"loss": 1.0}), **settings)
    store.end(run.id, FAKE_TOKEN, "stopped", "Stopped.")
    return run.id


def window(run_id: str) -> AppTest:
    """Return the content of a run's window."""

    def draw(run_id: str) -> None:
        from pages.components.run.manage_dialog import draw_manage_dialog

        draw_manage_dialog(run_id)

    return AppTest.from_function(draw, args=(run_id,), default_timeout=30).run()


def test_a_run_that_has_ended_has_a_window(store: Store) -> None:
    page = open_distill(ended(store, name="first"))
    page.button(key="distill.manage").click().run()
    assert page.text_input(key="distill.new_name").value == "first"
    run, _ = active_run(store, Measured(3, {"loss": 1.0}))
    assert "distill.manage" not in {button.key for button in open_distill(run.id).button}


def test_a_run_is_named_noted_and_tagged_in_its_window(store: Store) -> None:
    run_id = ended(store, name="first")
    page = window(run_id)
    page.text_input(key="distill.new_name").set_value(NASTY)
    page.text_input(key="distill.new_tags").set_value("a, <i>b</i>,, a")
    page.text_area(key="distill.new_note").set_value("one\n<script>two</script>")
    page.button(key="distill.save").click().run()
    found = store.get(run_id)
    assert (found.title, found.tags, found.note) == (NASTY, ("a", "<i>b</i>"), "one\n<script>two</script>")
    shown = all_html(open_distill(run_id))
    assert "&lt;script&gt;two" in shown
    assert "&lt;i&gt;b" in shown
    assert "<script>two" not in shown
    assert NASTY not in shown


def test_a_runs_numbers_and_settings_can_be_downloaded(store: Store) -> None:
    page = window(ended(store))
    assert not page.exception
    labels = {part.proto.label for part in page.get("download_button")}
    assert labels == {"Curves, CSV", "Curves, Parquet", "TensorBoard (zip)", "Settings, JSON"}


def with_students(store: Store, state: RunState = "finished", **settings: str) -> str:
    """Return an ended run that has a last student, of step 3, and a best one, of step 2."""
    run, _ = active_run(store, Measured(3, {"loss": 1.0}), **settings)
    folder = run_folder(run.id)
    for step in (2, 3):
        save_model(tiny_network(), tiny_tokenizer(), folder / LAST, {"task": "sst2", "step": step, "best": 2})
        if step == 2:
            save_last_as_best(folder)
    store.set_model(run.id, FAKE_TOKEN, folder / LAST)
    store.end(run.id, FAKE_TOKEN, state)
    return run.id


def links(page: AppTest) -> set[str]:
    return {link.proto.label for link in page.get("page_link")}


def test_its_students_can_be_downloaded_where_they_are(store: Store) -> None:
    run_id = with_students(store)
    labels = {part.proto.label for part in window(run_id).get("download_button")}
    assert {"Model (zip)", "Best model (zip)"} <= labels
    deletion.free_run(store, run_id)
    page = window(run_id)
    assert not page.exception
    labels = {part.proto.label for part in page.get("download_button")}
    assert labels == {"Curves, CSV", "Curves, Parquet", "TensorBoard (zip)", "Settings, JSON"}


def test_freeing_space_asks_first_and_the_page_says_what_is_gone(store: Store) -> None:
    run_id = with_students(store)
    page = window(run_id)
    page.button(key="distill.free").click().run()
    assert "Curves, settings and log are kept" in page.warning[0].value
    page.button(key="distill.keep_it").click().run()
    assert find_model(f"run/{run_id}")
    page.button(key="distill.free").click().run()
    page.button(key="distill.free_sure").click().run()
    assert not page.exception
    assert freeable_size(run_id) == 0
    assert "distill.free" not in {button.key for button in window(run_id).button}
    page = open_distill(run_id)
    assert "The student has been deleted" in all_html(page)
    assert EXPLAIN not in links(page)


def test_a_run_says_what_repeats_it(store: Store) -> None:
    run, _ = active_run(store, Measured(1, {"loss": 1.0}), seed=7)
    store.write(run.id, FAKE_TOKEN, [], None, [DataUsed("train", "somewhere", 20, "0123456789abcdef")])
    versions = {"torch": "9.9<b>", "transformers": "1"}
    save_model(tiny_network(), tiny_tokenizer(), run_folder(run.id) / LAST, {"task": "sst2", "versions": versions})
    store.set_model(run.id, FAKE_TOKEN, run_folder(run.id) / LAST)
    store.end(run.id, FAKE_TOKEN, "finished")
    page = open_distill(run.id)
    assert any("--seed=7" in code.value for code in page.code)
    said = [as_read(caption.value) for caption in page.caption]
    assert "Made with torch 9.9<b>, transformers 1; seed 7; data: train 01234567." in said


@pytest.mark.parametrize("step", ["[2]", "{}", '"2"', "1e999", "null"])
def test_a_damaged_step_of_a_student_breaks_no_page(store: Store, step: str) -> None:
    run_id = with_students(store)
    record = run_folder(run_id) / BEST / RECORD
    record.write_text(f'{{"task": "sst2", "step": {step}}}')
    page = open_distill(run_id)
    assert not page.exception
    assert "from an unknown step, is kept" in all_html(page)


def test_a_run_that_keeps_only_its_best_says_so(store: Store) -> None:
    both, best = with_students(store), with_students(store, keep="best")
    delete_obsolete_checkpoints(run_folder(best), keep="best")
    assert "Only the best student is kept, from step 2 of 3" in all_html(open_distill(best))
    assert "Only the best student" not in all_html(open_distill(both))
    assert EXPLAIN in links(open_distill(best))


def test_deleting_asks_first(store: Store) -> None:
    run_id = ended(store)
    page = window(run_id)
    page.button(key="distill.delete").click().run()
    assert "cannot be undone" in page.warning[0].value
    page.button(key="distill.keep_it").click().run()
    assert store.get(run_id).id == run_id
    page.button(key="distill.delete").click().run()
    page.button(key="distill.delete_sure").click().run()
    assert store.runs() == []
    assert not page.exception


def test_a_run_whose_student_is_used_cannot_be_deleted(store: Store) -> None:
    run_id = ended(store)
    scheduler.enqueue(store, RunConfig(device="cpu", teacher=f"run/{run_id}", name="the user"))
    page = window(run_id)
    assert any("used by the user" in one.value.replace("\\", "") for one in page.caption)
    assert "distill.delete" not in {button.key for button in page.button}


def test_a_log_can_be_searched(store: Store) -> None:
    run, _ = active_run(store, Measured(1, {"loss": 1.0}))
    run_folder(run.id).mkdir(parents=True)
    lines = [f"step {step}: accuracy .5" for step in range(300)]
    (run_folder(run.id) / "log.txt").write_text("\n".join(["Out of <b>memory</b> once", *lines]) + "\n")
    store.end(run.id, FAKE_TOKEN, "stopped", "Stopped.")
    page = open_distill(run.id)
    assert "memory" not in page.code[0].value
    page.text_input(key=f"distill.find.{run.id}").set_value("MEMORY").run()
    assert page.code[0].value == "Out of <b>memory</b> once"
    page.text_input(key=f"distill.find.{run.id}").set_value("nowhere").run()
    assert any("No matching lines" in one.value for one in page.caption)


def test_the_log_of_a_run_that_works_can_be_searched(store: Store) -> None:
    run, _ = active_run(store, Measured(1, {"loss": 1.0}))
    folder = run_folder(run.id)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("loading libraries\n" + "a step\n" * 300)
    page = open_distill(run.id)
    page.text_input(key=f"distill.find.{run.id}").set_value("libraries").run()
    assert page.code[0].value == "loading libraries"
    with (folder / "log.txt").open("a") as log:
        log.write("other Libraries\n")
    page.button(key="distill.look_again").click().run()
    assert page.code[0].value == "loading libraries\nother Libraries"
