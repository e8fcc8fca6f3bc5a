"""A run's numbers and student as others read them: each format opened by something that did not write it."""

import csv
import io
import json
import math
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, DistillError, StoreError
from distill_core.export import run_export
from distill_core.export.run_export import export_run
from distill_core.paths import STATE_FILE, run_folder
from distill_core.runs.events import DataUsed
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from distill_core.storage.checkpoints import LAST
from distill_core.versions import versions
from tests.conftest import FAKE_TOKEN
from tests.support.tiny import tiny_network, tiny_tokenizer

POINTS = [
    (0, "validation/accuracy", 0.5), (1, "loss", 0.1 + 0.2), (1, "step_seconds", 2.0), (2, "loss", float("nan")),
    (2, "step_seconds", 3.0), (2, "share/ad_kd", 1e-300), (2, "validation/accuracy", 0.75),
]  # fmt: skip
DATA = (DataUsed("train", "bundled sample", 32, "a" * 64), DataUsed("validation", "bundled sample", 8, "b" * 64))


def a_run(store: Store, points: Any = POINTS, state: Any = "finished", **settings: object) -> Run:
    """Put a run with these points into the store, ended in a state."""
    store.add("one", RunConfig.from_values({"name": 'mine, "é"', "steps": 2} | settings))
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only="one")
    store.write("one", FAKE_TOKEN, points, None, DATA)
    if state != "running":
        store.end("one", FAKE_TOKEN, state)
    return store.get("one")


def a_student(name: str = LAST, step: int = 2, best: int = 2, seed: int = 0) -> Path:
    """Save a student as a worker does, and what its training would go on from."""
    from distill_core.models.encoder import save_model

    folder = run_folder("one") / name
    network = tiny_network(layers=1, seed=seed)
    network.config.id2label, network.config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    record = {"task": "sst2", "step": step, "best": best, "versions": {"torch": "1.2.3"}, "parameters": 7}
    save_model(network, tiny_tokenizer(), folder, record)
    (folder / STATE_FILE).write_bytes(b"state")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "home")


# numbers and settings --------------------------------------------------------------------------


def test_the_table_has_a_row_a_point_in_the_order_of_writing(store: Store) -> None:
    table = run_export.metrics_table(store, a_run(store))
    assert table.schema.types == [pa.int64(), pa.string(), pa.float64()]
    rows = [tuple(row.values()) for row in table.to_pylist()]
    assert [row[:2] for row in rows] == [point[:2] for point in POINTS]
    assert math.isnan(rows[3][2])
    assert table["value"].null_count == 0


def test_csv_reads_back_exactly(store: Store) -> None:
    text = run_export.csv_bytes(store, a_run(store)).decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["step", "metric", "value"]
    for row, (step, name, value) in zip(rows, POINTS, strict=True):
        assert row[:2] == [str(step), name]
        assert row[2] == "" if math.isnan(value) else float(row[2]) == value
    frame = pd.read_csv(io.StringIO(text))
    assert frame["value"].isna().sum() == 1


def test_parquet_reads_back_with_the_run_in_its_metadata(store: Store) -> None:
    run = a_run(store)
    table = pq.read_table(io.BytesIO(run_export.parquet_bytes(store, run)))
    assert table.column_names == ["step", "metric", "value"]
    assert table["step"].to_pylist() == [point[0] for point in POINTS]
    assert table["value"][5].as_py() == 1e-300
    assert table.schema.metadata[b"run"] == b"one"
    assert RunConfig.from_json(table.schema.metadata[b"config"].decode()) == run.config


def test_a_run_without_points_has_only_the_header(store: Store, tmp_path: Path) -> None:
    run = a_run(store, ())
    assert run_export.csv_bytes(store, run) == b"step,metric,value\n"
    assert pq.read_table(io.BytesIO(run_export.parquet_bytes(store, run))).num_rows == 0
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    assert [name for name, *_ in scalars(file)] == []


def test_json_says_what_the_command_line_shows_without_the_points(store: Store) -> None:
    store.annotate(a_run(store).id, note="kept", tags=["a"])
    run = store.get("one")
    told = json.loads(run_export.json_bytes(store, run))
    assert told == {
        "run": "one", "name": 'mine, "é"', "note": "kept", "tags": ["a"],
        "state": "finished", "reason": "", "config": asdict(run.config),
        "data": [asdict(used) for used in DATA], "command": run.config.command, "versions": None,
        "exported_by": versions(),
    }  # fmt: skip
    assert json.loads(run_export.config_json(run)) == asdict(run.config)
    folder = a_student()
    assert run_export.run_document(store, run)["versions"] == {"torch": "1.2.3"}
    for damaged in ("{", "[]", '{"versions": 1}'):
        (folder / "distill.json").write_text(damaged)
        assert run_export.run_document(store, run)["versions"] is None


# TensorBoard -----------------------------------------------------------------------------------


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def records(file: Path) -> Iterator[bytes]:
    """Read TFRecord frames: length, its checksum, data, its checksum."""
    with file.open("rb") as stream:
        while head := stream.read(8):
            assert stream.read(4) == masked(head)
            data = stream.read(struct.unpack("<Q", head)[0])
            assert stream.read(4) == masked(data)
            yield data


def events(file: Path) -> list[Any]:
    from tensorboardX.proto.event_pb2 import Event

    return [Event.FromString(data) for data in records(file)]


def scalars(file: Path) -> list[tuple[str, int, float, float]]:
    """Return tag, step, value and wall time of every scalar."""
    return [
        (value.tag, event.step, value.simple_value, event.wall_time)
        for event in events(file)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    ]


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_tensorboard_reads_every_metric_with_its_step(store: Store, tmp_path: Path) -> None:
    run = a_run(store)
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
    run = a_run(store)
    (file,) = export_run(store, run, "tensorboard", tmp_path / "tb").iterdir()
    with zipfile.ZipFile(io.BytesIO(run_export.tensorboard_zip_bytes(store, run))) as archive:
        (name,) = archive.namelist()
        assert name == f"one/{file.name}"
        assert archive.read(name) == file.read_bytes()


def test_tensorboard_has_the_settings_as_text(store: Store, tmp_path: Path) -> None:
    run = a_run(store, name="``` <b>")
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
    a_run(store, state="stopped")
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
    run = a_run(store)
    folder = export_run(store, run, "tensorboard", tmp_path / "tb")
    with pytest.raises(StoreError, match="exists already"):
        export_run(store, run, "tensorboard", folder)
    export_run(store, run, "tensorboard", folder, force=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="other things in it"):
        export_run(store, run, "tensorboard", folder, force=True)
    assert len(names(folder)) == 2


def test_a_disk_that_is_really_full_does_not_hang_the_events(store: Store) -> None:
    run = a_run(store)
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left"):
        run_export._write_events(store, run, Path("/dev/full"))


def test_what_cannot_be_exported_is_named(store: Store, tmp_path: Path) -> None:
    run = a_run(store)
    with pytest.raises(ConfigError, match="choose one of: csv, parquet, json, tensorboard, model"):
        export_run(store, run, "xlsx", tmp_path / "a")
    with pytest.raises(ConfigError, match="Only a model has a best checkpoint"):
        export_run(store, run, "csv", tmp_path / "a", best=True)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE runs SET config = '[1]'")
    with pytest.raises(DistillError, match="cannot be read"):
        store.get("one")
    assert names(tmp_path) == []
