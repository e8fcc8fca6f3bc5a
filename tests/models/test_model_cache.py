"""Open models stay within their budget, the least recently used are closed first, and no memory leaks."""

import json
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from distill_core.errors import ConfigError, ModelError
from distill_core.models.encoder import LoadedModel, load_model
from distill_core.models.model_cache import ModelCache, weight_bytes
from distill_core.paths import home
from distill_core.settings import Settings, model_memory_bytes, write_settings
from distill_core.storage.model_folder import WEIGHTS
from tests.support.tiny import tiny_folder

ROOT = Path(__file__).parents[2]
FLAT = 1.05  # memory after all explanations against memory after every model was open once


class Folder:
    """A model folder that counts how often it is opened."""

    def __init__(self, path: Path) -> None:
        self.path, self.opened = tiny_folder(path), 0

    def load(self) -> LoadedModel:
        self.opened += 1
        return load_model(self.path)


@pytest.fixture
def folders(tmp_path: Path) -> list[Folder]:
    return [Folder(tmp_path / str(number)) for number in range(3)]


def test_the_least_recently_used_model_is_closed_first(folders: list[Folder]) -> None:
    first, second, third = folders
    room = int(2.5 * (first.path / WEIGHTS).stat().st_size)
    models = ModelCache(lambda: room)
    for one in (first, second, first, third):  # the second is now the one not asked for longest
        models.get(one.path, one.path, one.load)
    assert (len(models), models.bytes_held() <= room) == (2, True)
    models.get(first.path, first.path, first.load)
    models.get(third.path, third.path, third.load)
    assert [one.opened for one in folders] == [1, 1, 1]
    models.get(second.path, second.path, second.load)
    assert [one.opened for one in folders] == [1, 2, 1]


def test_a_model_larger_than_the_budget_is_the_only_open_one(folders: list[Folder]) -> None:
    models = ModelCache(lambda: 1)
    for one in folders:
        assert models.get(one.path, one.path, one.load).path == one.path
        assert len(models) == 1


def test_the_size_is_that_of_the_weights(folders: list[Folder]) -> None:
    models = ModelCache()
    model = models.get(1, folders[0].path, folders[0].load)
    weights = (folders[0].path / WEIGHTS).stat().st_size
    assert models.bytes_held() == weight_bytes(model) == pytest.approx(weights, rel=0.2)  # the file has a header


def test_two_threads_open_one_model_only_once(folders: list[Folder]) -> None:
    models, one, found = ModelCache(), folders[0], []
    both_ask = threading.Barrier(2)

    def ask() -> None:
        both_ask.wait()
        found.append(models.get(1, one.path, one.load))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.opened == 1
    assert found[0] is found[1]


def test_models_being_opened_count_towards_the_budget(folders: list[Folder]) -> None:
    first, second, third = folders
    one = weight_bytes(load_model(first.path))
    models = ModelCache(lambda: int(2.5 * one))
    models.get(first.path, first.path, first.load)
    both, held = threading.Barrier(2, timeout=60), []

    def load(folder: Folder) -> LoadedModel:
        both.wait()  # both are on their way
        held.append(models.bytes_held())
        return folder.load()

    threads = [threading.Thread(target=models.get, args=(f.path, f.path, partial(load, f))) for f in (second, third)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held == [0, 0]
    assert len(models) == 2


def test_models_too_large_for_the_budget_together_are_loaded_in_turn(folders: list[Folder]) -> None:
    models, under_way, most = ModelCache(lambda: 1), [], []

    def load(folder: Folder) -> LoadedModel:
        under_way.append(folder)
        most.append(len(under_way))
        time.sleep(0.05)
        under_way.remove(folder)
        return folder.load()

    threads = [threading.Thread(target=models.get, args=(f.path, f.path, partial(load, f))) for f in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1, 1, 1]


def test_a_model_that_cannot_be_opened_leaves_no_lock_behind(folders: list[Folder]) -> None:
    models, one = ModelCache(), folders[0]

    def fail() -> LoadedModel:
        raise ModelError("damaged")

    for _ in range(2):
        with pytest.raises(ModelError, match="damaged"):
            models.get(1, one.path, fail)
    assert models.get(1, one.path, one.load).path == one.path


def test_the_budget_can_be_set() -> None:
    assert model_memory_bytes() > 100_000_000
    write_settings(Settings(model_memory_mb=300))
    assert model_memory_bytes() == 300_000_000
    (home() / "settings.json").write_text('{"model_memory_mb": -1}', encoding="utf-8")
    with pytest.raises(ConfigError, match="model_memory_mb"):
        model_memory_bytes()


EXPLAIN_MANY = """
import json, sys
from pathlib import Path
import psutil
from distill_core.explanation.explain import explain
from distill_core.explanation.request import ExplanationRequest
from distill_core.models.encoder import load_model
from distill_core.models.model_cache import ModelCache

folders = [Path(one) for one in sys.argv[2:]]
models = ModelCache(lambda: 60_000_000)
resident = []
for number in range(int(sys.argv[1])):
    path = folders[number % len(folders)]
    model = models.get(path, path, lambda: load_model(path))
    method = "gradient" if number % 7 else "integrated_gradients"
    request = ExplanationRequest(task="sst2", text="a slow but good film", teacher="model", method=method)
    explain(request, lambda name, model=model: model)
    del model
    resident.append(psutil.Process().memory_info().rss)
print(json.dumps({"resident": resident, "open": len(models), "held": models.bytes_held()}))
"""


@pytest.mark.slow
def test_memory_stays_flat_over_many_explanations_of_many_models(tmp_path: Path) -> None:
    first = tiny_folder(tmp_path / "0", layers=4, width=256)  # 12 MB each: ten of them would show
    folders = [first, *(Path(shutil.copytree(first, tmp_path / str(number))) for number in range(1, 10))]
    command = [sys.executable, "-c", EXPLAIN_MANY, "40", *map(str, folders)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["held"] <= 60_000_000
    assert 1 < told["open"] < 10
    settled = max(told["resident"][:10])
    assert max(told["resident"][10:]) <= FLAT * settled, (settled, told["resident"][-1])
