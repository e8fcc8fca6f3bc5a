"""Export of a run to files: CSV, Parquet, JSON, TensorBoard, and its student as a plain Hugging Face folder.

Files are complete or not written at all. An export has only what is in the store or in the student's record.
"""

import contextlib
import csv
import hashlib
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from distill_core.catalog.catalog import find_model
from distill_core.errors import ConfigError, ModelError, RunError
from distill_core.export.model_card import model_card
from distill_core.json_file import parse_json_object
from distill_core.paths import STATE_FILE
from distill_core.runs.metric_names import RESULTS, STEP_SECONDS
from distill_core.runs.run import Run
from distill_core.runs.scheduler import can_resume
from distill_core.runs.store import Store
from distill_core.runs.students import find_student, read_student_record
from distill_core.shell_command import shell_command
from distill_core.storage.atomic_write import write_atomically
from distill_core.storage.checkpoints import BEST, RECORD
from distill_core.versions import versions

if TYPE_CHECKING:
    import pyarrow as pa

EXPORT_KINDS = ("csv", "parquet", "json", "tensorboard", "model")
COLUMNS = ("step", "metric", "value")
CARD, WEIGHTS = "README.md", "model.safetensors"
EVENTS = "events.out.tfevents"  # prefix of the files that TensorBoard reads
_CHUNK = 1 << 20  # bytes of a file held in memory at once
_ATTEMPTS = 20  # to read a checkpoint that is being replaced, 50 ms apart


def export_run(
    store: Store, run: Run, kind: str, target: str | Path, *, best: bool = False, force: bool = False
) -> Path:
    """Write a run to `target` as one of EXPORT_KINDS and return the absolute path; `.zip` packs a model.

    `best`: of a model, the best checkpoint instead of the last. `force`: replace an earlier export there.
    ConfigError for another kind, StoreError if `target` cannot be written, RunError without a student, ModelError for a
    damaged one.
    """
    if kind not in EXPORT_KINDS:
        raise ConfigError(f"Unknown kind of export {kind[:80]!r}; choose one of: {', '.join(EXPORT_KINDS)}.")
    if best and kind != "model":
        raise ConfigError("Only a model has a best checkpoint: omit --best, or export --as model.")
    if kind == "model":
        packed = str(target).lower().endswith(".zip")
        return (write_model_zip if packed else write_model)(store, run, target, best=best, force=force)
    if kind == "tensorboard":
        return write_tensorboard(store, run, target, force=force)
    content = {"csv": csv_bytes, "parquet": parquet_bytes, "json": json_bytes}[kind](store, run)
    with write_atomically(target, force, None) as (path, part):
        part.write_bytes(content)
    return path


# numbers and settings --------------------------------------------------------------------------


def metrics_table(store: Store, run: Run) -> "pa.Table":
    """Return one row for each stored point of a run, in order: step (int64), metric (string), value (float64).

    Values may be nan. The table's metadata has the run's id (`run`) and settings (`config`, JSON).
    """
    import pyarrow as pa

    points = store.metrics(run.id)
    types = dict(zip(COLUMNS, (pa.int64(), pa.string(), pa.float64()), strict=True))
    columns = ([point.step for point in points], [point.name for point in points], [point.value for point in points])
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types.values(), strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(types, {"run": run.id, "config": run.config.to_json()}))


def csv_bytes(store: Store, run: Run) -> bytes:
    """Return the points as CSV in UTF-8 with a header; undefined values are empty, others exact."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    for point in store.metrics(run.id):
        writer.writerow((point.step, point.name, "" if point.value != point.value else repr(point.value)))
    return lines.getvalue().encode()


def parquet_bytes(store: Store, run: Run) -> bytes:
    """Return `metrics_table` as a Parquet file, with its metadata."""
    import pyarrow.parquet as pq

    file = io.BytesIO()
    pq.write_table(metrics_table(store, run), file)
    return file.getvalue()


def config_json(run: Run) -> str:
    """Return a run's settings as readable JSON, all of them."""
    return json.dumps(asdict(run.config), ensure_ascii=False, indent=2)


def run_document(store: Store, run: Run) -> dict[str, Any]:
    """Return everything about a run except its points.

    `versions` are those the run was made with, None if it has no readable record; `exported_by` are the present ones.
    """
    try:
        made_by = read_student_record(run.id).get("versions")
    except ModelError:  # a damaged student does not affect the settings
        made_by = None
    return {
        "run": run.id,
        "name": run.name,
        "note": run.note,
        "tags": list(run.tags),
        "state": run.state,
        "reason": run.reason,
        "config": asdict(run.config),
        "data": [asdict(used) for used in store.data_of(run.id)],
        "command": run.command,
        "versions": made_by if isinstance(made_by, dict) else None,
        "exported_by": versions(),
    }


def json_bytes(store: Store, run: Run) -> bytes:
    """Return `run_document` as JSON in UTF-8."""
    return (json.dumps(run_document(store, run), ensure_ascii=False, indent=2) + "\n").encode()


# TensorBoard -----------------------------------------------------------------------------------


def write_tensorboard(store: Store, run: Run, target: str | Path, *, force: bool = False) -> Path:
    """Write a folder with one event file for TensorBoard: each metric as a scalar, the settings as text.

    Values are float32, by the format. The store has no time for a point, so times (seconds since the epoch) are the
    run's start plus the duration of its steps so far, without evaluations. StoreError as in `export_run`.
    """
    with write_atomically(target, force, _only_events) as (path, part):
        part.mkdir()
        _write_events(store, run, part / _events_name(run))
    return path


def tensorboard_zip_bytes(store: Store, run: Run) -> bytes:
    """Return the same folder as a zip file, named after the run."""
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        file = Path(folder) / _events_name(run)
        _write_events(store, run, file)
        archive.write(file, f"{run.id}/{file.name}")
    return content.getvalue()


def _events_name(run: Run) -> str:
    return f"{EVENTS}.{int(run.created)}.{run.id}"


def _only_events(entries: Sequence[Path]) -> bool:
    return all(path.name.startswith(EVENTS) and path.is_file() for path in entries)


def _write_events(store: Store, run: Run, file: Path) -> None:
    """Write the events in this thread: tensorboardX's SummaryWriter hangs on a full disk."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import scalar, text

    begin = run.created if run.started is None else run.started - run.seconds_before
    points = store.metrics(run.id)
    elapsed, seconds = 0.0, {}
    for point in points:
        if point.name == STEP_SECONDS:
            elapsed += point.value
        seconds[point.step] = elapsed
    settings = text("config", f"```json\n{config_json(run)}\n```")
    with contextlib.closing(RecordWriter(str(file))) as records:
        records.write(Event(wall_time=begin, file_version="brain.Event:2").SerializeToString())
        records.write(Event(wall_time=begin, step=0, summary=settings).SerializeToString())
        for point in points:
            time_of = begin + seconds[point.step]
            event = Event(wall_time=time_of, step=point.step, summary=scalar(point.name, point.value))
            records.write(event.SerializeToString())
        records.flush()


# the student -----------------------------------------------------------------------------------


def write_model(store: Store, run: Run, target: str | Path, *, best: bool = False, force: bool = False) -> Path:
    """Write a run's student as a plain Hugging Face folder with a model card; errors as in `export_run`."""
    with write_atomically(target, force, _is_model) as (path, part):
        part.mkdir()
        _write_student(store, run, best, lambda name: (part / name).open("wb"))
    return path


def write_model_zip(store: Store, run: Run, target: str | Path, *, best: bool = False, force: bool = False) -> Path:
    """Write the same as a zip file, in a folder named after the run; holds 1 MiB in memory at a time."""
    with write_atomically(target, force, None) as (path, part), part.open("wb") as file:
        _pack_student(store, run, best, file)
    return path


def model_zip_bytes(store: Store, run: Run, *, best: bool = False) -> bytes:
    """Return the same zip file as bytes; RunError without a student, ModelError if it is damaged."""
    content = io.BytesIO()
    _pack_student(store, run, best, content)
    return content.getvalue()


def _pack_student(store: Store, run: Run, best: bool, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:

        def entry(name: str) -> IO[bytes]:
            about = zipfile.ZipInfo(f"{run.id}/{name}")
            about.external_attr = 0o644 << 16
            about.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            return archive.open(about, "w", force_zip64=True)

        _write_student(store, run, best, entry)


def student_folder(run: Run, best: bool = False) -> Path:
    """Return the folder of a run's last or best checkpoint; RunError if there is none.

    One folder may be both, see `find_student`.
    """
    for _ in range(_ATTEMPTS if run.state == "running" else 1):  # a checkpoint is replaced by two renames
        if (folder := find_student(run.id, best)) is not None:
            return folder
        time.sleep(0.05)
    if best and find_student(run.id) is not None:
        raise RunError(f"Run {run.id} ({run.status}) has no best checkpoint: export its last one without --best.")
    raise RunError(f"Run {run.id} ({run.status}) has no student to export. {_advice(run)}")


def _advice(run: Run) -> str:
    if run.active:
        return f"Wait for its first evaluation, after {run.config.evaluate_every} steps."
    if run.state == "finished" or (run.model_path is not None and not can_resume(run)):
        return f"Its files were deleted. To train it again: {run.local_command}"
    why = f"It ended: {run.reason} " if run.reason else ""
    return f"{why}Choose another run, or resume this one: {shell_command('runs', 'resume', run.id)}"


def _is_model(entries: Sequence[Path]) -> bool:
    """Return whether a folder has only a model's files; one with subfolders may be a user's repository."""
    return {RECORD, "config.json"} <= {path.name for path in entries} and all(path.is_file() for path in entries)


def _write_student(
    store: Store, run: Run, best: bool, sink: Callable[[str], AbstractContextManager[IO[bytes]]]
) -> None:
    """Write a student's files and its card, each into `sink(name)`; ModelError if record or weights are damaged."""
    folder = student_folder(run, best)
    with _opened(folder) as files:
        record = _record(files, folder)
        info = find_model(f"run/{run.id}/{BEST}" if folder.name == BEST else f"run/{run.id}")
        names = [name for name in store.latest(run.id) if name.startswith(RESULTS)]
        card = model_card(run, info, record, store.data_of(run.id), store.metrics(run.id, names=names))
        for name, source in files.items():
            with sink(name) as copy:
                digest = _copy_hashing(source, copy)
            if name == WEIGHTS and digest != record.get("weights_sha256", digest):
                raise ModelError(
                    f"{folder / name} is damaged: its bytes are not those that were saved. "
                    "Export the run's other checkpoint, or run it again."
                )
        with sink(CARD) as copy:
            copy.write(card.encode())


@contextmanager
def _opened(folder: Path) -> Iterator[dict[str, IO[bytes]]]:
    """Open all files of one checkpoint, by name, even while the run replaces it.

    Links are skipped: their targets were not made by the run.
    """
    for _ in range(_ATTEMPTS):
        with ExitStack() as stack:
            files: dict[str, IO[bytes]] = {}
            complete = False
            with contextlib.suppress(FileNotFoundError):
                before = folder.stat().st_ino
                for path in sorted(folder.iterdir()):
                    if path.is_file() and not path.is_symlink() and path.name not in (STATE_FILE, CARD):
                        files[path.name] = stack.enter_context(path.open("rb"))
                complete = folder.stat().st_ino == before and WEIGHTS in files
            if complete:
                yield files
                return
        time.sleep(0.05)
    raise ModelError(
        f"{folder} is damaged (it has no {WEIGHTS}), or is being replaced each time it is read; try again."
    )


def _record(files: Mapping[str, IO[bytes]], folder: Path) -> dict[str, Any]:
    """Return the record among a checkpoint's open files; ModelError if it is missing or damaged."""
    try:
        record = parse_json_object(files[RECORD].read())
        files[RECORD].seek(0)
    except (KeyError, OSError, ValueError) as error:
        show = shell_command("runs", "show", folder.parent.name)
        raise ModelError(
            f"{folder / RECORD} is missing, damaged or cannot be read ({error}), so it is not known what this student "
            f"is. Train the run again, with the command line that this prints: {show}"
        ) from error
    return record


def _copy_hashing(source: IO[bytes], sink: IO[bytes]) -> str:
    """Copy a stream and return its SHA-256."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        sink.write(chunk)
    return digest.hexdigest()
