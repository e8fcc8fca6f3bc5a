"""A queued run knows its place among the runs that want its device."""

from distill_core.config.run_config import RunConfig
from distill_core.runs.lifecycle import ACTIVE
from distill_core.runs.queue import queue_place, run_devices
from distill_core.runs.scheduler import enqueue
from distill_core.runs.store import Store
from tests.support.stored_runs import FAKE_TOKEN


def test_a_run_waits_for_those_before_it_on_its_device(store: Store) -> None:
    ids = [enqueue(store, RunConfig(device="cpu", name=str(number))) for number in range(3)]
    first = queue_place(store.get(ids[0]), store.runs(ACTIVE))
    assert (first.place, first.devices, first.running, first.starts_now) == (1, {"cpu"}, (), True)
    assert store.claim(lambda _: ("cpu",), FAKE_TOKEN) is not None
    places = [queue_place(store.get(run_id), store.runs(ACTIVE)) for run_id in ids[1:]]
    assert [(place.place, place.starts_now) for place in places] == [(1, False), (2, False)]
    assert [run.id for run in places[1].running] == [ids[0]]


def test_a_running_run_has_the_device_it_trains_on(store: Store) -> None:
    enqueue(store, RunConfig(device="auto"))
    run = store.claim(lambda _: ("cuda:1",), FAKE_TOKEN)
    assert run is not None
    assert run_devices(run) == {"cuda:1"}
