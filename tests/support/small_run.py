"""A real run of a few steps: its settings, and its metrics that differ from machine to machine."""

from pathlib import Path

from distill_core.config.run_config import RunConfig

MACHINE_METRICS = (
    "step_seconds", "examples_per_second", "seconds_left", "seconds_left_low", "seconds_left_high", "memory_mb",
    "memory_free_mb", "cpu_percent",
)  # fmt: skip


def small_run(teacher: Path, **changes: object) -> RunConfig:
    """Return the settings of a run of six steps on bundled data."""
    values: dict[str, object] = {
        "teacher": str(teacher), "student_layers": 1, "source": "bundled", "steps": 6, "batch_size": 4,
        "evaluate_every": 3, "device": "cpu", "max_length": 32,
    }  # fmt: skip
    return RunConfig.from_values({"weak_teacher": "go_on"} | values | changes)
