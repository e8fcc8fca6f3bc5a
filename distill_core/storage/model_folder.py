"""A model's folder: its config, weights and tokenizer, the only files that determine its answers and are ever read.

`from_pretrained` would follow others: adapters beside the weights, files named in a config, shards, templates. So a
model is loaded from a view of its folder with only these files, from which its fingerprint is computed, too.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill_core.errors import ModelError
from distill_core.json_file import read_json_object

MAX_CLASSES = 1000  # of a model whose config is read
_MAX_HEADER_BYTES = 25_000_000  # of a safetensors file: the limit of the hub
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))  # any one is enough
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    *(name for files in TOKENIZERS for name in files),
    *(TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json"),
)
_ELSEWHERE = {  # settings that bring in other files or other arithmetic: their file, and what to do
    "transformers_weights": (CONFIG, f"remove the setting if {WEIGHTS} has the weights, else save the model again"),
    "configuration_files": (CONFIG, "remove the setting if config.json is the config"),
    "quantization_config": (CONFIG, "save the model again with plain weights (dequantize, then save_pretrained)"),
    "fast_tokenizer_files": (TOKENIZER_CONFIG, "remove the setting if tokenizer.json is the tokenizer"),
}


def has_tokenizer(names: Collection[str]) -> bool:
    """Return whether file names include those of a tokenizer."""
    return any(set(files) <= set(names) for files in TOKENIZERS)


def check_tokenizer_files(names: Collection[str], where: str) -> None:
    """Raise ModelError for file names without a tokenizer, in whose place transformers would build an empty one.

    `where` begins the message.
    """
    if has_tokenizer(names):
        return
    pieces = sorted(name for name in names if name.endswith(".model"))
    if pieces:
        raise ModelError(
            f"{where} has its tokenizer only as {pieces[0]}, which needs the package sentencepiece, not part of this "
            "app. Where it is installed, AutoTokenizer.from_pretrained(...).save_pretrained(...) writes the "
            "tokenizer.json that is wanted."
        )
    raise ModelError(
        f"{where}: tokenizer.json is missing, and so is vocab.txt, or vocab.json with merges.txt. Save the tokenizer "
        "into the folder (save_pretrained), or choose another model."
    )


def check_no_adapter(names: Collection[str], where: str) -> None:
    """Raise ModelError for file names with an adapter: the weights alone are then not the model."""
    adapters = sorted(name for name in names if name == "adapter_config.json" or name.startswith("adapter_model"))
    if adapters:
        raise ModelError(
            f"{where} has an adapter ({adapters[0]}), so {WEIGHTS} alone is not the model. Merge it (PEFT: "
            "merge_and_unload) and save the whole model, or delete the adapter's files if the weights are meant alone."
        )


def check_settings(folder: Path, where: str) -> None:
    """Raise ModelError for a config that brings in other files than the folder's plain ones, or fails in use."""
    for setting, (file, advice) in _ELSEWHERE.items():
        value = read_json(folder / file).get(setting)
        if value is not None:
            raise ModelError(f"{where}: its {file} sets {setting} to {value!r:.60}, which is not followed: {advice}.")
    chunk = read_json(folder / CONFIG).get("chunk_size_feed_forward")
    if chunk not in (None, 0):
        raise ModelError(
            f"{where}: its {CONFIG} sets chunk_size_feed_forward to {chunk!r:.60}, which most lengths of text are no "
            "multiple of: set it to 0, the answers stay the same."
        )
    longest = read_json(folder / TOKENIZER_CONFIG).get("model_max_length")
    if longest is not None and (type(longest) not in (int, float) or not longest >= 1):  # not: nan
        raise ModelError(
            f"{where}: its {TOKENIZER_CONFIG} sets model_max_length to {longest!r:.60}; wanted a number of tokens, "
            "such as 512."
        )


def fingerprint(path: Path, weights_sha256: str) -> str:
    """Return a SHA-256 over everything in a model folder that its answers depend on."""
    digest = hashlib.sha256(weights_sha256.encode())
    for part in (CONFIG, *TOKENIZER_FILES):
        if (path / part).is_file():
            digest.update(part.encode() + (path / part).read_bytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def restricted_view(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with only the files of a model's folder that may determine its answers.

    Removed are paths in the tokenizer's config, often of the machine it was made on, and the config's choice of an
    attention implementation, which may name a repository whose code would be downloaded and run.
    """
    with tempfile.TemporaryDirectory(prefix="distill-model-") as name:
        view = Path(name)
        for part in (CONFIG, WEIGHTS, *TOKENIZER_FILES):
            if (path / part).is_file():
                (view / part).symlink_to((path / part).resolve())
        for part, removed in ((CONFIG, "_implementation"), (TOKENIZER_CONFIG, "_file")):
            settings = read_json(view / part)
            allowed = {setting: value for setting, value in settings.items() if removed not in setting}
            if allowed != settings:
                (view / part).unlink()
                (view / part).write_text(json.dumps(allowed), encoding="utf-8")
        yield view


def find_model_folder(text: str) -> Path | None:
    """Return the folder a text names if it can be read and has a config.json, else None."""
    try:
        folder = Path(text).expanduser()
        return folder if (folder / "config.json").is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long, no permission, an unknown ~user, a NUL
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file, empty if the file is missing; ModelError if it is damaged."""
    try:
        return read_json_object(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged or cannot be read ({error}); restore the file or save the model again."
        ) from error


def class_names(config: dict[str, Any], file: Path) -> tuple[str, ...]:
    """Return the names of the classes in the order of the outputs, as transformers reads them from a config.

    `file`: the config's path, for messages. ModelError where they are damaged or too many.
    """
    names = config.get("id2label")
    count = (whole_number(config, "num_labels", file) or 2) if not isinstance(names, dict) else len(names)
    if count > MAX_CLASSES:
        raise ModelError(
            f"{file} describes {count:,} classes; wanted at most {MAX_CLASSES:,}. Choose a model with fewer classes."
        )
    if names is None:
        return tuple(f"LABEL_{index}" for index in range(count))
    try:
        return tuple(str(names[index]) for index in sorted(names, key=int))
    except (TypeError, ValueError, LookupError) as error:
        raise ModelError(
            f"{file} is damaged (id2label is {names!r:.80}); wanted a name for each number from 0. Correct the file."
        ) from error


def weight_shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return each tensor's type and shape by name from a safetensors file's header; empty if there is no file.

    The format begins with the header's length, 8 bytes little-endian, and the header in JSON. ModelError if it is
    damaged.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(_MAX_HEADER_BYTES, path.stat().st_size):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        shapes = {
            name: (str(one["dtype"]), tuple(map(_size, one["shape"])))
            for name, one in header.items()
            if name != "__metadata__"
        }
        numbers = sum(math.prod(shape) for _, shape in shapes.values())
        if numbers > path.stat().st_size:
            raise ValueError("its header names more numbers than the file has bytes")
        return shapes
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is damaged or cannot be read ({error}); restore the file or save the model again."
        ) from error


def _size(value: object) -> int:
    """Return one dimension of a tensor's shape; ValueError if it is not one."""
    if type(value) is not int or value < 0:
        raise ValueError(f"a dimension of {value!r:.40}")
    return value


def count_parameters(path: Path) -> int:
    """Return how many weights a safetensors file holds; integer tensors are buffers (positions), not weights."""
    return sum(math.prod(shape) for kind, shape in weight_shapes(path).values() if "F" in kind)


def whole_number(values: dict[str, Any], name: str, folder: Path) -> int:
    """Return a whole number of a config or record, 0 if it is missing; ModelError if it is not a whole number."""
    value = values.get(name, 0)
    if type(value) is not int or value < 0:
        raise ModelError(f"{folder} is damaged ({name} is {value!r:.40}; wanted a whole number). Correct the file.")
    return value
