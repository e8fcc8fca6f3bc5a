"""A run's numbers and student as others read them: each format opened by something that did not write it."""

import csv
import io
import json
import math
import sqlite3
import zipfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, DistillError, StoreError
from distill_core.export import run_export
from distill_core.export.run_export import export_run
from distill_core.runs.store import Store
from distill_core.versions import versions
from tests.support.exported_files import DATA, POINTS, add_run, crc32c, events, names, scalars
from tests.support.saved_students import save_student
from tests.support.stored_runs import FAKE_TOKEN

# numbers and settings --------------------------------------------------------------------------


def test_the_table_has_a_row_a_point_in_the_order_of_writing(store: Store) -> None:
    table = run_export.metrics_table(store, add_run(store))
    assert table.schema.types == [pa.int64(), pa.string(), pa.float64()]
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert [row[:2] for row in rows] == [point[:2] for point in POINTS]
    assert math.isnan(rows[3][2])
    assert table["value"].null_count == 0


def test_csv_reads_back_exactly(store: Store) -> None:
    text = run_export.csv_bytes(store, add_run(store)).decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["step", "metric", "value"]
    for row, (step, name, value) in zip(rows, POINTS, strict=True):
        assert row[:2] == [str(step), name]
        assert row[2] == "" if math.isnan(value) else float(row[2]) == value
    frame = pd.read_csv(io.StringIO(text))
    assert frame["value"].isna().sum() == 1


def test_parquet_reads_back_with_the_run_in_its_metadata(store: Store) -> None:
    run = add_run(store)
    table = pq.read_table(io.BytesIO(run_export.parquet_bytes(store, run)))
    assert table.column_names == ["step", "metric", "value"]
    assert table["step"].to_pylist() == [point[0] for point in POINTS]
    assert table["value"][5].as_py() == 1e-300
    assert table.schema.metadata[b"run"] == b"one"
    assert RunConfig.from_json(table.schema.metadata[b"config"].decode()) == run.config


def test_a_run_without_points_has_only_the_header(store: Store, tmp_path: Path) -> None:
    run = add_run(store, ())
    assert run_export.csv_bytes(store, run) == b"step,metric,value\n"
    assert pq.read_table(io.BytesIO(run_export.parquet_bytes(store, run))).num_rows == 0
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    assert [name for name, *_ in scalars(file)] == []


def test_json_says_what_the_command_line_shows_without_the_points(store: Store) -> None:
    store.annotate(add_run(store).id, note="kept", tags=["a"])
    run = store.get("one")
    told = json.loads(run_export.json_bytes(store, run))
    assert told == {
        "run": "one", "name": 'mine, "é"', "note": "kept", "tags": ["a"],
        "state": "finished", "reason": "", "config": asdict(run.config),
        "data": [asdict(used) for used in DATA], "command": run.config.command, "versions": None,
        "exported_by": versions(),
    }  # fmt: skip
    assert json.loads(run_export.config_json(run)) == asdict(run.config)
    folder = save_student()
    assert run_export.run_document(store, run)["versions"] == {"torch": "1.2.3"}
    for damaged in ("{", "[]", '{"versions": 1}'):
        (folder / "distill.json").write_text(damaged)
        assert run_export.run_document(store, run)["versions"] is None


# TensorBoard -----------------------------------------------------------------------------------


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_tensorboard_reads_every_metric_with_its_step(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    folder = export_run(store, run, "tensorboard", tmp_path / "tb")
    (file,) = folder.iterdir()
    assert file.name.startswith("events.out.tfevents.")
    assert events(file)[0].file_version == "brain.Event:2"
    found = scalars(file)
    assert [(tag, step) for tag, step, *_ in found] == [(name, step) for step, name, _ in POINTS]
    for (*_, value, _), (_, _, wanted) in zip(found, POINTS, strict=True):
        assert value == pytest.approx(wanted, rel=1e-6, abs=1e-30, nan_ok=True)  # float32, by the format
    assert [wall - (run.started or 0) for *_, wall in found] == pytest.approx([0, 2, 2, 5, 5, 5, 5])


def test_tensorboards_files_come_as_a_zip_too(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    with zipfile.ZipFile(io.BytesIO(run_export.tensorboard_zip_bytes(store, run))) as archive:
        (name,) = archive.namelist()
        assert name == f"one/{file.name}"
        assert archive.read(name) == file.read_bytes()


def test_tensorboard_has_the_settings_as_text(store: Store, tmp_path: Path) -> None:
    run = add_run(store, name="``` <b>")
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    texts = [value for event in events(file) for value in event.summary.value if value.metadata.plugin_data.plugin_name]
    (text,) = texts
    assert text.metadata.plugin_data.plugin_name == "text"
    body = text.tensor.string_val[0].decode()
    assert json.loads(body.removeprefix("```json\n").removesuffix("\n```")) == asdict(run.config)


def test_tensorboard_of_a_run_that_waits_begins_when_it_was_made(store: Store, tmp_path: Path) -> None:
    store.add("one", RunConfig())
    run = store.get("one")
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    assert {event.wall_time for event in events(file)} == {run.created}


def test_tensorboard_counts_the_time_of_earlier_attempts(store: Store, tmp_path: Path) -> None:
    add_run(store, state="stopped")
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET started = ended - 5")
    store.requeue("one")
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only="one")
    run = store.get("one")
    store.end("one", FAKE_TOKEN, "stopped")
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    last = scalars(file)[-1][3]
    assert last - (run.started or 0) == pytest.approx(0, abs=0.1)  # its two steps took the 5 seconds before


def test_an_export_to_tensorboard_may_be_renewed(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    folder = export_run(store, run, "tensorboard", tmp_path / "tb")
    with pytest.raises(StoreError, match="exists already"):
        export_run(store, run, "tensorboard", folder)
    export_run(store, run, "tensorboard", folder, force=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="other files in it"):
        export_run(store, run, "tensorboard", folder, force=True)
    assert len(names(folder)) == 2


def test_a_disk_that_is_really_full_does_not_hang_the_events(store: Store) -> None:
    run = add_run(store)
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"):
        run_export._write_events(store, run, Path("/dev/full"))


def test_what_cannot_be_exported_is_named(store: Store, tmp_path: Path) -> None:
    run = add_run(store)
    with pytest.raises(ConfigError, match="choose one of: csv, parquet, json, tensorboard, model"):
        export_run(store, run, "xlsx", tmp_path / "a")
    with pytest.raises(ConfigError, match="Only a model has a best checkpoint"):
        export_run(store, run, "csv", tmp_path / "a", best=True)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET config = '[1]'")
    with pytest.raises(DistillError, match="cannot be read"):
        store.get("one")
    assert names(tmp_path) == []
