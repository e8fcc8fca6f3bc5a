"""Submitting a run checks models, settings, device and data before it queues anything."""

from pathlib import Path

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.errors import ConfigError, DataError, DistillError, ModelError
from distill_core.runs.store import Store
from distill_core.submission import submit


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"teacher": "bundled/none"}, ModelError, "Unknown model 'bundled/none'"),
        ({"student_init": "bundled/cola-teacher"}, ModelError, "was trained for task cola"),
        ({"student_layers": 48}, ModelError, "use 1 to"),
        ({"method": "ad_kd", "top_k": 16_000}, ConfigError, "use 1 to"),
        ({"device": "cuda:7"}, ConfigError, "cannot be used on this machine"),
        ({"source": "own/gone-0123456789"}, DataError, "own/gone-0123456789"),
    ],
)
def test_a_run_that_would_fail_at_once_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], error: type[DistillError], message: str
) -> None:
    monkeypatch.setattr("distill_core.devices.usable_devices", lambda: ("cpu",))
    with pytest.raises(error, match=message):
        submit(store, RunConfig.from_values({"source": "bundled", **settings}))
    assert store.runs() == []


def test_a_run_that_passes_is_queued_with_its_settings_pinned(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    run = store.get(submit(store, RunConfig(), read_data=False))
    assert (run.state, run.config.source) == ("queued", str(tmp_path))


def test_data_the_caller_has_read_is_not_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("distill_core.submission.load_split", unexpected)
    assert store.get(submit(store, RunConfig(source="bundled"), read_data=False)).state == "queued"
    assert store.get(submit(store, RunConfig(source="hub"))).state == "queued"
