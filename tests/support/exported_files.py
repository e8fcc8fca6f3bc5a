"""A finished run to export, and readers of the exported files."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill_core.config.run_config import RunConfig
from distill_core.runs.events import DataUsed
from distill_core.runs.run import Run
from distill_core.runs.store import Store
from tests.support.stored_runs import FAKE_TOKEN

POINTS = [
    (0, "validation/accuracy", 0.5), (1, "loss", 0.1 + 0.2), (1, "step_seconds", 2.0), (2, "loss", float("nan")),
    (2, "step_seconds", 3.0), (2, "share/ad_kd", 1e-300), (2, "validation/accuracy", 0.75),
]  # fmt: skip
DATA = (DataUsed("train", "bundled sample", 32, "a" * 64), DataUsed("validation", "bundled sample", 8, "b" * 64))


def add_run(store: Store, points: Any = POINTS, state: Any = "finished", **settings: object) -> Run:
    """Put a run with these points into the store, ended in a state."""
    store.add("one", RunConfig.from_values({"name": 'mine, "é"', "steps": 2} | settings))
    store.claim(lambda _: ("cpu",), FAKE_TOKEN, only="one")
    store.write("one", FAKE_TOKEN, points, None, DATA)
    if state != "running":
        store.end("one", FAKE_TOKEN, state)
    return store.get("one")


def names(folder: Path) -> list[str]:
    """Return the sorted names of a folder's entries, without the application folder."""
    return sorted(path.name for path in folder.iterdir() if path.name != "home")


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
    """Return the events of a TensorBoard file."""
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
