"""The one way by which page, command line and comparison start a run: check the settings, pin them, queue the run."""

from distill_core.catalog.compatibility import find_teacher
from distill_core.config.run_config import RunConfig
from distill_core.data.datasets import load_split
from distill_core.devices import devices_for
from distill_core.runs import scheduler
from distill_core.runs.store import Store


def submit(store: Store, config: RunConfig, *, read_data: bool = True) -> str:
    """Check and queue a run, and return its id; every call makes one run. Raises as `check_run` does."""
    check_run(config, read_data=read_data)
    return scheduler.enqueue(store, config)


def check_run(config: RunConfig, *, read_data: bool = True) -> None:
    """Raise the error that a run of these settings would fail with, as far as it shows before the run starts.

    ConfigError for settings or a device, ModelError for teacher or student, DataError for the examples. Data on the hub
    is not fetched here; its failure is the run's. `read_data`: False where the caller has just read the data.
    """
    find_teacher(config)
    devices_for(config.device)
    if read_data and config.source != "hub":
        for split in ("train", "validation"):
            load_split(config.task, split, config.source)
