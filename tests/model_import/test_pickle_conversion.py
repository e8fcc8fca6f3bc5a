"""Pickled checkpoints: tensors become safetensors, anything else is refused unread, and death is told in words."""

import os
import pickle
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from distill_core.errors import ModelError
from distill_core.model_import import pickle_conversion
from distill_core.model_import.pickle_conversion import convert
from distill_core.model_import.progress import ImportStep
from tests.support.pickles import RunsCommand
from tests.support.processes import ROOT, gone
from tests.support.waiting import until


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_become_safetensors_bit_by_bit(zipped: bool, tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    content = OrderedDict(a=whole, part=whole[:, 1:3], turned=whole.T, half=whole.half(), count=torch.tensor([1, 2]))
    torch.save(content, tmp_path / "m.bin", _use_new_zipfile_serialization=zipped)
    events = list(convert(tmp_path / "m.bin", tmp_path / "m.safetensors"))
    assert events[-1] == ImportStep("Converting m.bin", *[(tmp_path / "m.bin").stat().st_size] * 2)
    found = load_file(tmp_path / "m.safetensors")
    assert found.keys() == content.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, content[name])
        assert tensor.dtype == content[name].dtype
    assert {file.name for file in tmp_path.iterdir()} == {"m.bin", "m.safetensors"}


@pytest.mark.parametrize("way", ["zip", "old", "plain"])
def test_a_pickle_that_would_run_a_command_runs_nothing(way: str, tmp_path: Path) -> None:
    content = {"weight": torch.ones(2), "evil": RunsCommand(f"touch {tmp_path / 'ran'}")}
    if way == "plain":
        (tmp_path / "m.bin").write_bytes(pickle.dumps(content["evil"], protocol=2))
    else:
        torch.save(content, tmp_path / "m.bin", _use_new_zipfile_serialization=way == "zip")
    with pytest.raises(ModelError, match=r"asks for posix\.system, .* could run code\. Do not use this file"):
        list(convert(tmp_path / "m.bin", tmp_path / "m.safetensors"))
    assert [file.name for file in tmp_path.iterdir()] == ["m.bin"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(2)], "it holds a list; wanted a mapping"),
        ({}, "it holds a dict; wanted a mapping"),
        ({"state_dict": {"a": torch.ones(2)}}, r"'state_dict' is a dict; wanted a flat .* state_dict\(\) alone"),
        ({"__metadata__": torch.ones(2)}, "a tensor named __metadata__, which safetensors cannot hold"),
        ({1: torch.ones(2)}, "entry 1 is a Tensor; wanted a flat"),
        ({"a": torch.eye(3).to_sparse()}, "tensor 'a' is sparse, quantised or empty"),
        ({"a": torch.ones(2, device="meta")}, "tensor 'a' is sparse, quantised or empty"),
    ],
)
def test_anything_but_named_tensors_is_refused(content: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        pickle_conversion._named_tensors(content)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")  # deprecated, but files have them
def test_quantised_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match="tensor 'a' is sparse, quantised or empty"):
        pickle_conversion._named_tensors({"a": torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8)})


def test_a_small_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**11)}, tmp_path / "m.bin")
    with pytest.raises(ModelError, match=r"m\.bin is not converted: it takes more memory than a file of its size"):
        list(convert(tmp_path / "m.bin", tmp_path / "m.safetensors"))
    assert [file.name for file in tmp_path.iterdir()] == ["m.bin"]


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "m.bin")
    (tmp_path / "m.bin").write_bytes((tmp_path / "m.bin").read_bytes()[:-500])
    with pytest.raises(ModelError, match=r"m\.bin is not converted: it is damaged or not a PyTorch checkpoint"):
        list(convert(tmp_path / "m.bin", tmp_path / "m.safetensors"))


def doing(code: str) -> tuple[str, ...]:
    """Return the command of a process that does something else than convert."""
    return (sys.executable, "-c", f"import os, sys, time; open(sys.argv[2] + '.part', 'w').write('half'); {code}")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", r"was killed \(signal 9\), .* lack of memory"),
        ("sys.exit('a library is missing')", "ended with code 1: a library is missing"),
        ("time.sleep(60)", "was not converted within 1 seconds"),
    ],
)
def test_the_death_of_the_process_is_told(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.bin").write_bytes(b"x")
    monkeypatch.setattr(pickle_conversion, "COMMAND", doing(code))
    monkeypatch.setattr(pickle_conversion, "SECONDS", 1.0 if "sleep" in code else 60.0)
    with pytest.raises(ModelError, match=words):
        list(convert(tmp_path / "m.bin", tmp_path / "m.safetensors"))
    assert [file.name for file in tmp_path.iterdir()] == ["m.bin"]


def test_closing_the_generator_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.bin").write_bytes(b"x")
    code = "open(sys.argv[2] + '.pid', 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(pickle_conversion, "COMMAND", doing(code))
    progress = convert(tmp_path / "m.bin", tmp_path / "t")
    for _ in progress:
        if (tmp_path / "t.pid").exists() and (tmp_path / "t.pid").read_text():
            break
    progress.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "t.pid").read_text()), 0)
    assert not (tmp_path / "t.part").exists()


def test_a_conversion_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.bin")  # reading it waits for ever
    code = "from pathlib import Path; from distill_core.model_import.pickle_conversion import convert; "
    code += f"list(convert(Path({str(tmp_path / 'm.bin')!r}), Path({str(tmp_path / 't')!r})))"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    assert until(lambda: psutil.Process(caller.pid).children() != [])
    (child,) = psutil.Process(caller.pid).children()
    assert not until(lambda: gone(child.pid), 1.0)
    caller.kill()
    caller.wait()
    ended = until(lambda: gone(child.pid))
    if not ended:
        child.kill()
    assert ended


def test_a_conversion_has_a_limit_of_its_own(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.bin")
    code = "from pathlib import Path; from distill_core.model_import import pickle_conversion\n"
    code += "pickle_conversion.SECONDS = 1.0; "
    code += f"pickle_conversion.main(Path({str(tmp_path / 'm.bin')!r}), Path({str(tmp_path / 't')!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -signal.SIGALRM
