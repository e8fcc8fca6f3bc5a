"""Names, notes, sizes and the end of runs."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill_core.catalog.catalog import find_model, list_models
from distill_core.catalog.deletion import delete_run, free_run, rename_run
from distill_core.catalog.user_models import UserModel, add_user_model, remove_user_model
from distill_core.cli import app
from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, ModelError, RunError, StoreError
from distill_core.export.run_export import student_folder
from distill_core.models.encoder import save_model
from distill_core.paths import STATE_FILE, home, run_folder
from distill_core.runs.disk_usage import freeable_size, run_size
from distill_core.runs.scheduler import can_resume, enqueue
from distill_core.runs.store import Store
from distill_core.storage import checkpoints
from distill_core.storage.checkpoints import BEST, LAST, save_last_as_best
from tests.support.saved_students import add_run_with_student
from tests.support.stored_runs import FAKE_TOKEN
from tests.support.tiny import tiny_network, tiny_tokenizer

NASTY = "../../etc/passwd <b>x</b> ﷽ ../.."


def test_tags_given_in_two_windows_are_all_kept(store: Store) -> None:
    ids = [add_run_with_student(store), add_run_with_student(store)]
    store.retag(ids, ["first", "both"], ())
    with ThreadPoolExecutor(8) as several:
        list(several.map(lambda at: store.retag(ids, [f" t{at} "], ()), range(8)))
    store.retag(ids[:1], (), ["both", "none"])
    wanted = {"first", *(f"t{at}" for at in range(8))}
    assert [set(store.get(run_id).tags) for run_id in ids] == [wanted, wanted | {"both"}]
    with pytest.raises(ConfigError):
        store.retag(ids, ["two\nlines"], ())
    assert set(store.get(ids[0]).tags) == wanted


def test_a_run_and_its_students_are_renamed(store: Store) -> None:
    run_id = add_run_with_student(store, name="first")
    save_last_as_best(run_folder(run_id))
    assert rename_run(store, run_id, f"  {NASTY}  ").title == NASTY
    assert store.get(run_id).config.name == "first"  # what it was started with
    titles = {model.id: model.title for model in list_models()}
    assert titles[f"run/{run_id}"] == f"{NASTY} ({run_id[-4:]})"
    assert titles[f"run/{run_id}/{BEST}"].startswith(NASTY)
    assert rename_run(store, run_id, "").title == run_id
    assert find_model(f"run/{run_id}").title == f"AD-KD run {run_id[-4:]}"
    assert not list(home().rglob("*passwd*"))
    with pytest.raises(ConfigError, match="use a line of 0 to 200 characters"):
        rename_run(store, run_id, "x" * 10_000)
    with pytest.raises(RunError, match="Unknown run"):
        rename_run(store, "nope", "x")


def test_a_name_is_not_in_the_students_folder(store: Store) -> None:
    run_id = add_run_with_student(store, name="first")
    save_last_as_best(run_folder(run_id))

    def content() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in run_folder(run_id).rglob("*") if file.is_file()}

    before = content()
    rename_run(store, run_id, "second")  # its worker may write there in the same moment
    assert content() == before
    assert find_model(f"run/{run_id}").title == f"second ({run_id[-4:]})"
    save_model(tiny_network(), tiny_tokenizer(), run_folder(run_id) / LAST, {"task": "sst2", "title": "first"})
    assert find_model(f"run/{run_id}").title == f"second ({run_id[-4:]})"


def test_a_student_is_called_by_its_id_where_the_store_cannot_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = add_run_with_student(store, name="first")

    def locked(*_: object) -> None:
        raise StoreError("The run store was in use by another process.")

    monkeypatch.setattr(Store, "_open", locked)
    assert find_model(f"run/{run_id}").title == f"run/{run_id}"
    assert f"run/{run_id}" in {model.title for model in list_models()}


def test_notes_and_tags_are_kept_as_written(store: Store) -> None:
    run_id = add_run_with_student(store)
    note = "first line\nsecond <b>line</b> 漢字 'quoted'; DROP TABLE runs"
    store.annotate(run_id, note=note, tags=["  a b ", "", "ü,x", "a b"])
    found = store.get(run_id)
    assert (found.note, found.tags, found.title) == (note, ("a b", "ü,x"), run_id)
    store.annotate(run_id, name="named")
    assert (store.get(run_id).note, store.get(run_id).tags) == (note, ("a b", "ü,x"))
    with pytest.raises(ConfigError, match="The note has 10,001 characters; wanted at most 10,000"):
        store.annotate(run_id, note="x" * 10_001)
    for half in ({"note": "a \udcff"}, {"tags": ["a \udcff"]}):
        with pytest.raises(ConfigError, match=r"invalid Unicode|use a line"):
            store.annotate(run_id, **half)
    assert store.get(run_id).note == note


def test_what_checkpoints_share_is_counted_once(store: Store) -> None:
    run_id = add_run_with_student(store)
    before = run_size(run_id)
    save_last_as_best(run_folder(run_id))
    assert run_size(run_id) == before > 1000
    assert run_size("nope") == 0


def test_a_deleted_run_is_gone_with_all_it_had(store: Store) -> None:
    run_id, other = add_run_with_student(store), add_run_with_student(store)
    taken = run_size(run_id)
    assert delete_run(store, run_id) == taken
    assert [run.id for run in store.runs()] == [other]
    assert not run_folder(run_id).exists()
    assert store.latest(other) == {"loss": 0.5}
    assert store.metrics(run_id) == []
    find_model(f"run/{other}")
    with pytest.raises(RunError, match="Unknown run"):
        delete_run(store, run_id)


@pytest.mark.parametrize("kind", ["teacher", "student_init"])
def test_a_run_in_use_or_at_work_is_not_deleted(store: Store, kind: str) -> None:
    run_id = add_run_with_student(store)
    user = enqueue(store, RunConfig.from_values({"device": "cpu", "name": "the user", kind: f"run/{run_id}"}))
    with pytest.raises(RunError, match="is used by the user; stop or remove that first"):
        delete_run(store, run_id)
    with pytest.raises(RunError, match="is queued; stop it first"):
        delete_run(store, user)
    assert not store.delete_run(user)
    assert store.metrics(run_id) != []


def test_a_model_added_from_a_runs_folder_protects_it(store: Store) -> None:
    run_id = add_run_with_student(store)
    folder = run_folder(run_id) / LAST
    add_user_model(UserModel(str(folder), str(folder.resolve()), "sst2", "folder"))
    for refused in (delete_run, free_run):
        with pytest.raises(RunError, match=f"is used by the model {folder}; stop or remove that first"):
            refused(store, run_id)
    remove_user_model(str(folder))
    assert free_run(store, run_id) > 1000


def test_a_paused_run_keeps_its_teacher(store: Store) -> None:
    run_id = add_run_with_student(store)
    user = enqueue(store, RunConfig.from_values({"device": "cpu", "name": "the user", "teacher": f"run/{run_id}/best"}))
    store.cancel(user, "pause")
    with pytest.raises(RunError, match="is used by the user"):
        free_run(store, run_id)
    store.requeue(user)
    store.cancel(user)
    assert free_run(store, run_id) > 1000


def test_freeing_space_leaves_curves_settings_log_and_record(store: Store) -> None:
    run_id = add_run_with_student(store)
    folder = run_folder(run_id)
    save_last_as_best(folder)
    (folder / LAST / STATE_FILE).write_bytes(b"x" * 5000)
    (folder / "student.1.part").mkdir()
    (folder / "student.1.part" / "half").write_bytes(b"x" * 7000)
    (folder / "log.txt").write_text("a line")
    before = run_size(run_id)
    assert 12_000 < freeable_size(run_id) < before
    freed = free_run(store, run_id)
    assert freed == before - run_size(run_id)
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) == [
        "log.txt", "student/distill.json",
    ]  # fmt: skip
    assert store.latest(run_id) == {"loss": 0.5}
    assert store.get(run_id).config.device == "cpu"
    for model in (f"run/{run_id}", f"run/{run_id}/{BEST}"):
        with pytest.raises(ModelError, match="Unknown model"):
            find_model(model)
    assert f"run/{run_id}" not in {model.id for model in list_models()}
    assert (freeable_size(run_id), free_run(store, run_id)) == (0, 0)
    assert run_size(run_id) > 0


def test_other_runs_write_while_a_student_is_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = add_run_with_student(store)
    other, discard, met = enqueue(store, RunConfig(device="cpu")), checkpoints.delete_folder, []
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN, only=other) is not None
    monkeypatch.setattr("distill_core.runs.database.BUSY_SECONDS", 0.0)

    def meanwhile(path: Path) -> None:
        met.append(store.write(other, FAKE_TOKEN, [(1, "loss", 0.5)], None))
        discard(path)

    monkeypatch.setattr("distill_core.catalog.deletion.delete_folder", meanwhile)
    assert free_run(store, run_id) > 1000
    assert met
    assert store.end(other, FAKE_TOKEN, "stopped")


@pytest.mark.parametrize("renames", range(6))
def test_freeing_that_was_killed_loses_no_record_and_is_done_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    run_id = add_run_with_student(store)
    folder, rename_path, done = run_folder(run_id), Path.rename, []
    save_last_as_best(folder)
    (folder / "best.1.part").mkdir()

    def killed(path: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename_path(path, target)

    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        patch.setattr("distill_core.catalog.deletion.delete_folder", interrupted)
        with pytest.raises(KeyboardInterrupt):
            free_run(store, run_id)
    assert run_size(run_id) > 1000
    free_run(store, run_id)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == ["student", "student/distill.json"]
    assert json.loads((folder / LAST / "distill.json").read_text())["task"] == "sst2"


def test_a_student_behind_a_link_is_let_alone(store: Store, tmp_path: Path) -> None:
    run_id = add_run_with_student(store)
    folder, outside = run_folder(run_id), tmp_path / "elsewhere"
    (folder / LAST).rename(outside)
    (folder / LAST).symlink_to(outside)
    (folder / BEST).symlink_to(tmp_path / "gone")
    before = {file.name: file.read_bytes() for file in outside.iterdir()}
    for _ in range(2):
        free_run(store, run_id)
        assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == ["student", "student/distill.json"]
        assert not (folder / LAST).is_symlink()
        assert {file.name: file.read_bytes() for file in outside.iterdir()} == before


def test_a_checkpoint_takes_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "weights").touch()
    (tmp_path / LAST).symlink_to(tmp_path / "outside")
    (tmp_path / "new").mkdir()
    checkpoints.replace_folder(tmp_path / "new", tmp_path / LAST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", LAST]
    assert not (tmp_path / LAST).is_symlink()
    (tmp_path / "best.1.old").symlink_to(tmp_path / "outside")
    (tmp_path / BEST).mkdir()
    checkpoints.repair_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, "outside", LAST]
    assert (tmp_path / "outside" / "weights").exists()


@pytest.mark.parametrize("place", ["distill_core.catalog.deletion.delete_folder", "pathlib.Path.rename"])
def test_what_the_disk_does_not_let_go_of_is_told(store: Store, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    run_id = add_run_with_student(store)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(place, refused)
        with pytest.raises(RunError, match=r"could be deleted \(.*Permission denied.*try again"):
            free_run(store, run_id)
    free_run(store, run_id)
    assert freeable_size(run_id) == 0


def test_a_stopped_run_whose_space_was_freed_cannot_go_on(store: Store) -> None:
    run_id = add_run_with_student(store, state="stopped")
    (run_folder(run_id) / LAST / STATE_FILE).touch()
    assert can_resume(store.get(run_id))
    free_run(store, run_id)
    assert not can_resume(store.get(run_id))
    with pytest.raises(RunError, match=r"Its files were deleted\. To train it again: "):
        student_folder(store.get(run_id))


def test_space_of_a_run_that_starts_again_in_that_moment_is_not_freed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = add_run_with_student(store, state="stopped")

    def meanwhile(run_id: str) -> int:
        store.requeue(run_id)
        return 1

    monkeypatch.setattr("distill_core.catalog.deletion.freeable_size", meanwhile)
    with pytest.raises(RunError, match="has just been started again"):
        free_run(store, run_id)
    assert find_model(f"run/{run_id}")


def test_the_only_student_kept_as_the_best_is_both(store: Store) -> None:
    run_id = add_run_with_student(store)
    with pytest.raises(ModelError, match="Unknown model"):
        find_model(f"run/{run_id}/{BEST}")  # its record does not call it the best
    record = {"task": "sst2", "step": 1, "best": 1}
    save_model(tiny_network(), tiny_tokenizer(), run_folder(run_id) / LAST, record)
    assert find_model(f"run/{run_id}/{BEST}").path == find_model(f"run/{run_id}").path == run_folder(run_id) / LAST
    assert [model.id for model in list_models() if model.kind == "run"] == [f"run/{run_id}"]


def test_a_folder_that_cannot_be_deleted_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = add_run_with_student(store)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refused)
    with pytest.raises(RunError, match="deleted, but not all of its folder"):
        delete_run(store, run_id)
    assert store.runs() == []


def test_the_command_line_renames_notes_and_deletes_what_it_is_told_to(store: Store) -> None:
    run_id = add_run_with_student(store)

    def call(*words: str, answer: str = "") -> str:
        done = CliRunner().invoke(app, ["runs", *words], input=answer, catch_exceptions=False)
        return f"{done.exit_code} {done.output}"

    assert call("rename", run_id, NASTY).startswith("0 ")
    assert call("note", run_id, "to keep", "--tag", "a", "--tag", "b").startswith("0 ")
    found = store.get(run_id)
    assert (found.title, found.note, found.tags) == (NASTY, "to keep", ("a", "b"))
    call("note", run_id, "other")
    assert store.get(run_id).tags == ("a", "b")  # what is not given stays
    assert f"Delete {NASTY}" in call("delete", run_id, answer="n\n")
    assert store.get(run_id).id == run_id
    assert "free again" in call("delete", run_id, answer="y\n")
    assert store.runs() == []
    assert "free again" in call("delete", add_run_with_student(store), "--yes")


def test_a_run_whose_student_is_in_use_keeps_no_other_from_being_freed(store: Store) -> None:
    used, free = add_run_with_student(store, "stopped"), add_run_with_student(store, "stopped")
    store.add("user", RunConfig(device="cpu", teacher=f"run/{used}"))
    done = CliRunner().invoke(app, ["runs", "free", used, free, "--yes"])
    assert done.exit_code == 2
    assert f"The student of run {used} is used by user" in " ".join(done.output.split())
    assert freeable_size(used) > 0
    assert freeable_size(free) == 0


def test_the_command_line_frees_space_and_says_how_much_there_is(store: Store) -> None:
    first, second = add_run_with_student(store, "stopped"), add_run_with_student(store, "stopped")
    (run_folder(first) / LAST / STATE_FILE).write_bytes(b"x" * 9_100_000)

    def call(*words: str, answer: str = "") -> str:
        done = CliRunner().invoke(app, ["runs", *words], input=answer)
        return f"{done.exit_code} {done.output}"

    listed = {row["run"]: row["disk_mb"] for row in json.loads(call("list", "--json")[2:])}
    assert listed[first] == round(run_size(first) / 1e6, 1) > 9 > listed[second]
    assert "on disk: 9 MB" in call("show", first)
    assert f"{first}, {second}, 9 MB?" in " ".join(call("free", first, second, answer="n\n").split())
    assert freeable_size(first) > 9e6
    told = " ".join(call("free", first, second, answer="y\n").split())
    assert f"{first}: 9 MB are free again" in told
    assert f"{second}: 0 MB are free again" in told
    assert freeable_size(first) == freeable_size(second) == 0
    shown = json.loads(CliRunner().invoke(app, ["runs", "show", first, "--json"]).stdout)
    assert shown["disk_mb"] < 0.1
    assert shown["metrics"]


def test_a_renamed_run_is_repeated_under_its_new_name(store: Store) -> None:
    store.add("one", RunConfig(name="old"))
    store.annotate("one", name="new")
    assert "--name=new" in store.get("one").command
    store.annotate("one", name="")
    assert "--name" not in store.get("one").command
    store.cancel("one")
