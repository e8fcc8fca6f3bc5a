"""A cache of open models within a memory budget: the least recently used ones are closed first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from distill_core.models.encoder import LoadedModel
from distill_core.settings import model_memory_bytes
from distill_core.storage.model_folder import WEIGHTS


class ModelCache:
    """Open models by key, shared by threads. `budget()`: bytes of weights, called at each opening.

    Weights count on the CPU and on a GPU alike. A model larger than the budget is opened all the same, as the only one.
    A model that is removed while a thread uses it is freed when that thread is done.
    """

    def __init__(self, budget: Callable[[], int] = model_memory_bytes) -> None:
        self._budget = budget
        self._models: OrderedDict[Hashable, LoadedModel] = OrderedDict()
        self._turns: dict[
            Hashable, tuple[threading.Lock, int]
        ] = {}  # key -> its lock, number of threads that wait for it
        self._loading: dict[Hashable, int] = {}  # key -> bytes of a model being loaded
        self._lock = threading.Condition()

    def get(self, key: Hashable, path: Path, load: Callable[[], LoadedModel]) -> LoadedModel:
        """Return the model of this key, opened by `load` from the folder `path` unless it is open.

        Memory is freed before loading, by the size of the weights' file; models that exceed the budget together are
        loaded one after another. Threads that request the same model share one loading. Raises what `load` raises,
        OSError if there is no file.
        """
        with self._turn(key):
            with self._lock:
                if key in self._models:
                    self._models.move_to_end(key)
                    return self._models[key]
                wanted = (path / WEIGHTS).stat().st_size
                while self._loading and sum(self._loading.values()) + wanted > self._budget():
                    self._lock.wait()
                self._free_memory(wanted)
                self._loading[key] = wanted
            try:
                model = load()
            finally:
                with self._lock:
                    del self._loading[key]
                    self._lock.notify_all()
            with self._lock:
                self._free_memory(weight_bytes(model))
                self._models[key] = model
            return model

    def bytes_held(self) -> int:
        """Return the bytes of weights that are open now."""
        with self._lock:
            return sum(map(weight_bytes, self._models.values()))

    def __len__(self) -> int:
        """Return how many models are open."""
        with self._lock:
            return len(self._models)

    def _free_memory(self, wanted: int) -> None:
        held = {key: weight_bytes(model) for key, model in self._models.items()}
        wanted += sum(self._loading.values())
        while held and sum(held.values()) + wanted > self._budget():
            oldest = next(iter(self._models))
            del self._models[oldest], held[oldest]

    @contextmanager
    def _turn(self, key: Hashable) -> Iterator[None]:
        """Admit one thread at a time for a key; its lock is deleted with the last of them."""
        with self._lock:
            turn, waiting = self._turns.get(key, (threading.Lock(), 0))
            self._turns[key] = turn, waiting + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, waiting = self._turns.pop(key)
                if waiting > 1:
                    self._turns[key] = turn, waiting - 1


def weight_bytes(model: LoadedModel) -> int:
    """Return the bytes of a model's weights."""
    network = model.network
    return sum(tensor.nbytes for tensor in chain(network.parameters(), network.buffers()))
