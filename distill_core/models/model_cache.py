"""Models kept open between questions, no more than a budget of memory holds: the least recently used leave first."""

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
    """Open models by key, shared by threads. `budget()`: bytes of weights, asked anew at each opening.

    Weights are counted wherever they are, on the CPU or a GPU. A model that passes the budget by itself is opened all
    the same, alone. One that left while a thread still works with it is freed when that thread is done.
    """

    def __init__(self, budget: Callable[[], int] = model_memory_bytes) -> None:
        self._budget = budget
        self._models: OrderedDict[Hashable, LoadedModel] = OrderedDict()
        self._turns: dict[Hashable, tuple[threading.Lock, int]] = {}  # key -> its lock, threads that want it
        self._loading: dict[Hashable, int] = {}  # key -> bytes of a model on its way
        self._lock = threading.Condition()

    def get(self, key: Hashable, path: Path, load: Callable[[], LoadedModel]) -> LoadedModel:
        """Return the model of this key, opened by `load` from the folder `path` unless it is open.

        Room is made before it is loaded, by the size of its file; what the budget does not hold together is loaded
        one after another. Threads that ask for one model at a time wait for one loading. Raises what `load` raises,
        OSError where there is no file.
        """
        with self._turn(key):
            with self._lock:
                if key in self._models:
                    self._models.move_to_end(key)
                    return self._models[key]
                wanted = (path / WEIGHTS).stat().st_size
                while self._loading and sum(self._loading.values()) + wanted > self._budget():
                    self._lock.wait()
                self._make_room(wanted)
                self._loading[key] = wanted
            try:
                model = load()
            finally:
                with self._lock:
                    del self._loading[key]
                    self._lock.notify_all()
            with self._lock:
                self._make_room(weight_bytes(model))
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

    def _make_room(self, wanted: int) -> None:
        held = {key: weight_bytes(model) for key, model in self._models.items()}
        wanted += sum(self._loading.values())
        while held and sum(held.values()) + wanted > self._budget():
            oldest = next(iter(self._models))
            del self._models[oldest], held[oldest]

    @contextmanager
    def _turn(self, key: Hashable) -> Iterator[None]:
        """Let one thread at a time in for a key; the key is forgotten with the last of them."""
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
