"""Models from a hub: fetched, verified and added whole or not at all, whatever goes wrong on the way."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.utils import validate_repo_id

from distill_core.catalog.catalog import ModelInfo, find_model, list_models
from distill_core.catalog.user_models import list_user_models
from distill_core.data.tasks import TASKS
from distill_core.errors import ModelError, NeedsConversion, NeedsReordering
from distill_core.model_import import hub as hub_module
from distill_core.model_import.hub import PRESETS
from distill_core.model_import.importer import Progress, add_from_hub
from distill_core.model_import.progress import Finding, ImportStep
from distill_core.models.bundle import open_model
from tests.support.pickles import as_pickle
from tests.support.small_hub import SmallHub, serving
from tests.support.tiny import tiny_folder

REPO = "org/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """Return a small hub with a tiny model, this process being allowed to ask it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "PAUSE", 0.001)
    monkeypatch.setattr(hub_module, "REPORT_EVERY", 0.0)
    monkeypatch.setenv("NO_PROXY", "*")
    folder = tiny_folder(tmp_path / "published")
    (folder / "distill.json").unlink()
    (folder / "README.md").write_text("not wanted")
    with serving(REPO, folder) as served:
        yield served


def add(hub: SmallHub, **options: object) -> list[Progress]:
    return list(add_from_hub(REPO, "sst2", endpoint=hub.endpoint, **options))


def nothing_is_left(home: Path) -> bool:
    """Tell whether there is no added model and no half of one."""
    models = home / "models"
    return list_user_models() == [] and not any((models / "hub").glob("*")) and not any((models / "staging").glob("*"))


def test_a_model_is_fetched_checked_and_listed(hub: SmallHub, own_home: Path) -> None:
    *events, info = add(hub)
    assert isinstance(info, ModelInfo)
    assert (info.id, info.kind, info.task) == ("hub/org/tiny@c0ffee00", "hub", "sst2")
    assert (info.repo, info.revision, info.architecture, info.layers) == (REPO, hub.sha, "bert", 2)
    assert info.labels == ("negative", "positive")
    assert info.origin == "Hugging Face hub, org/tiny at c0ffee00"
    assert info.path == own_home / "models" / "hub" / f"org--tiny@{hub.sha}"
    model = open_model(info.id, task="sst2")
    assert info.parameters == sum(parameter.numel() for parameter in model.network.parameters())
    assert info.size > 4 * info.parameters
    assert info in list_models()
    assert find_model(info.id) == info
    with pytest.raises(ModelError, match="trained for task sst2"):
        open_model(info.id, task="rte")
    assert all(event.passed for event in events if isinstance(event, Finding))
    names = {file.name for file in info.path.iterdir()}
    assert names == {"config.json", "distill.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_progress_counts_bytes_up_to_the_file(hub: SmallHub) -> None:
    hub.pause = 0.002
    steps = [
        event for event in add(hub) if isinstance(event, ImportStep) and event.what == "Downloading model.safetensors"
    ]
    done = [step.done for step in steps]
    assert len(done) > 3
    assert done == sorted(done)
    assert done[-1] == steps[-1].total == len(hub.files["model.safetensors"])


def test_a_model_that_is_there_is_not_fetched_again(hub: SmallHub) -> None:
    add(hub)
    hub.sent.clear()
    assert isinstance(add(hub)[-1], ModelInfo)
    assert hub.sent == []
    assert len(list_user_models()) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_cut_twice_is_taken_up_again(ranges: bool, hub: SmallHub) -> None:
    hub.cuts, hub.ranges = 2, ranges
    assert isinstance(add(hub)[-1], ModelInfo)
    assert hub.sent.count("model.safetensors") == 3


def listing_of(size: int) -> dict[str, object]:
    return {"id": REPO, "sha": "c0ffee" + "0" * 34, "siblings": [{"rfilename": "config.json", "size": size}]}


def test_a_transfer_that_is_cut_after_its_last_byte_is_done(hub: SmallHub) -> None:
    hub.endless = True
    assert isinstance(add(hub)[-1], ModelInfo)
    assert hub.sent.count("model.safetensors") == 1


@pytest.mark.parametrize("status", [0, 401, 404, 503])
def test_a_password_in_the_address_is_not_shown(status: int, hub: SmallHub) -> None:
    hub.status = status
    port = hub.endpoint.rpartition(":")[2] if status else "9"
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1") as told:
        list(add_from_hub(REPO, "sst2", endpoint=f"http://me:secret@127.0.0.1:{port}"))
    assert "secret" not in str(told.value)


FAULTS = [
    ({"cuts": 10**6, "ranges": False}, r"connection to http://127.* failed or was lost .* try again"),
    ({"wrong": True}, r"model\.safetensors was damaged in transfer \(checksum .*listed .*Try again"),
    ({"longer": True}, r"sends more of model\.safetensors than"),
    ({"missing": ("tokenizer.json",)}, "lists a file that does not exist"),
    ({"gated": True}, r"is gated: accept its terms at http://127.*/org/tiny, then set HF_TOKEN"),
    ({"status": 401}, "set HF_TOKEN"),
    ({"status": 403}, "set HF_TOKEN"),
    ({"status": 404}, "no model org/tiny on"),
    ({"status": 503}, "status 503; try again later"),
    ({"nonsense": True}, "does not respond as a hub does .* check HF_ENDPOINT"),
    ({"sha": "../../.."}, "does not respond as a hub does"),
    *(({"listing": partial(listing_of, size)}, "does not respond as a hub does") for size in (-1, True, 10**400)),
]


@pytest.mark.parametrize(
    ("fault", "words"), FAULTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_each_failure_is_told_leaves_nothing_and_the_next_try_succeeds(
    fault: dict[str, object], words: str, hub: SmallHub, own_home: Path
) -> None:
    sound = {name: getattr(hub, name) for name in fault}
    for name, value in fault.items():
        setattr(hub, name, value)
    with pytest.raises(ModelError, match=words):
        add(hub)
    assert nothing_is_left(own_home)
    for name, value in sound.items():
        setattr(hub, name, value)
    assert isinstance(add(hub)[-1], ModelInfo)


def test_a_model_and_a_revision_that_are_not_there(hub: SmallHub, own_home: Path) -> None:
    with pytest.raises(ModelError, match=r"no model org/other on .* or it is private: .* HF_TOKEN"):
        list(add_from_hub("org/other", "sst2", endpoint=hub.endpoint))
    with pytest.raises(ModelError, match=r"no revision 'v9'; leave it out"):
        add(hub, revision="v9")
    with pytest.raises(ModelError, match=r"'\.\./\.\./etc' is not a valid id on the hub; wanted ORG/NAME"):
        list(add_from_hub("../../etc", "sst2", endpoint=hub.endpoint))
    assert nothing_is_left(own_home)
    assert isinstance(add(hub, revision=hub.sha)[-1], ModelInfo)


def test_no_network_and_offline_are_told(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"connection to http://127\.0\.0\.1:9 failed .* try again"):
        list(add_from_hub(REPO, "sst2", endpoint="http://127.0.0.1:9"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set, so nothing is downloaded: unset it"):
        add(hub)
    assert hub.tokens == []


def test_cancelling_in_the_middle_ends_the_transfer_and_leaves_nothing(hub: SmallHub, own_home: Path) -> None:
    hub.files["model.safetensors"] += b"\0" * 50_000_000
    progress = add_from_hub(REPO, "sst2", endpoint=hub.endpoint)
    for event in progress:
        if isinstance(event, ImportStep) and event.what == "Downloading model.safetensors" and event.done:
            break
    assert event.done < event.total / 2
    progress.close()
    assert nothing_is_left(own_home)
    hub.files["model.safetensors"] = hub.files["model.safetensors"][:-50_000_000]
    assert isinstance(add(hub)[-1], ModelInfo)


def test_a_full_disk_is_told_and_leaves_nothing(hub: SmallHub, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))  # no file may grow beyond
    try:
        with pytest.raises(ModelError, match=r"files of org/tiny cannot be written .* free some space, or set"):
            add(hub)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(ModelError, match=r"needs 0 MB, and .* has 0 MB left: free some space"):
        add(hub)
    assert nothing_is_left(own_home)


def test_a_token_goes_to_the_hub_and_to_nobody_else(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    add(hub)
    stored = [token for path, token in hub.tokens if path.startswith("/stored/")]
    asked = [token for path, token in hub.tokens if not path.startswith("/stored/")]
    assert stored == [None]
    assert set(asked) == {"Bearer hf_secret"}


def test_only_files_of_known_names_at_the_top_are_fetched(hub: SmallHub, own_home: Path) -> None:
    hub.files |= {"../../evil.json": b"x", "sub/config.json": b"x", "modeling.py": b"x", "/etc/x": b"x"}
    assert isinstance(add(hub)[-1], ModelInfo)
    assert set(hub.sent) == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert not list(own_home.rglob("evil.json"))


def test_what_its_config_rules_out_is_not_downloaded(hub: SmallHub, own_home: Path) -> None:
    hub.files["config.json"] = hub.files["config.json"].replace(b'"bert"', b'"gpt2"')
    with pytest.raises(ModelError, match="is of type 'gpt2', which is not supported; choose a model of type albert"):
        add(hub)
    assert "model.safetensors" not in hub.sent
    assert nothing_is_left(own_home)


def test_a_pickle_is_fetched_only_with_consent_and_becomes_safetensors(hub: SmallHub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    hub.files["pytorch_model.bin"] = as_pickle(tmp_path / "published").read_bytes()
    with pytest.raises(NeedsConversion, match="With your consent"):
        add(hub)
    assert hub.sent == []
    info = add(hub, convert=True)[-1]
    assert isinstance(info, ModelInfo)
    assert {file.suffix for file in info.path.iterdir()} == {".json", ".safetensors"}
    open_model(info.id, task="sst2")


def test_classes_in_another_order_are_put_right_only_if_wanted(hub: SmallHub) -> None:
    turned = {"id2label": {"0": "positive", "1": "negative"}, "label2id": {"positive": 0, "negative": 1}}
    hub.files["config.json"] = json.dumps(json.loads(hub.files["config.json"]) | turned).encode()
    with pytest.raises(NeedsReordering, match="orders its classes positive, negative"):
        add(hub)
    assert "model.safetensors" not in hub.sent
    info = add(hub, reorder=True)[-1]
    assert isinstance(info, ModelInfo)
    assert (info.id, info.labels) == ("hub/org/tiny@c0ffee00-sst2", ("negative", "positive"))
    open_model(info.id, task="sst2")


def test_what_killed_imports_left_is_swept_up(hub: SmallHub, own_home: Path) -> None:
    for name, age in (("dead", 2 * 86400), ("alive", 60)):
        folder = own_home / "models" / "staging" / name
        folder.mkdir(parents=True)
        then = folder.stat().st_mtime - age
        os.utime(folder, (then, then))
    add(hub)
    assert [folder.name for folder in (own_home / "models" / "staging").iterdir()] == ["alive"]


def test_the_command_line_adds_and_removes(hub: SmallHub, own_home: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint, "NO_PROXY": "*"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "distill_core", "models", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = call("add", REPO, "--task", "sst2", "--json")
    assert done.returncode == 0, done.stderr
    assert f'"revision": "{hub.sha}"' in done.stdout
    assert "ok: architecture: Its architecture is bert." in done.stderr
    done = call("remove", "hub/org/tiny@c0ffee00", "--yes")
    assert done.returncode == 0, done.stderr
    assert nothing_is_left(own_home)


def test_presets_can_be_asked_for() -> None:
    assert len({preset.repo for preset in PRESETS}) == len(PRESETS)
    for preset in PRESETS:
        validate_repo_id(preset.repo)
        assert preset.task in TASKS
        assert preset.kind in ("teacher", "student")
        assert preset.words
    assert {preset.task for preset in PRESETS if preset.kind == "teacher"} == set(TASKS)
