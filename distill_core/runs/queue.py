"""The place of a queued run, and the runs that it waits for."""

from collections.abc import Sequence
from dataclasses import dataclass

from distill_core.devices import devices_for
from distill_core.errors import ConfigError
from distill_core.runs.run import Run


@dataclass(frozen=True)
class QueuePlace:
    """`place`: 1 for the run that starts next on any of `devices`; `running`: the runs that use those devices now."""

    place: int
    devices: frozenset[str]
    running: tuple[Run, ...]

    @property
    def starts_now(self) -> bool:
        """Whether a device is free for it."""
        return self.place == 1 and len(self.running) < len(self.devices)


def queue_place(run: Run, active: Sequence[Run]) -> QueuePlace:
    """Return the place of a queued run among the active runs that can use one of its devices."""
    devices = run_devices(run)
    rivals = [other for other in active if devices & run_devices(other)]
    before = sum(other.state == "queued" and other.position < run.position for other in rivals)
    return QueuePlace(1 + before, devices, tuple(other for other in rivals if other.state == "running"))


def run_devices(run: Run) -> frozenset[str]:
    """Return the device a run trains on, or those a queued run can use."""
    try:
        return frozenset({run.device} if run.device else devices_for(run.config.device))
    except ConfigError:  # the device is no longer there, which the scheduler reports when the run's turn comes
        return frozenset({run.config.device})
