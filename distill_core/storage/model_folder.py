"""Which files of a model's folder decide what it answers: config, weights, tokenizer. No other is ever read.

`from_pretrained` would follow more: adapters beside the weights, files a config names, shards, templates. So a model is
loaded from a view of its folder that has only these files, the ones its fingerprint is made of.
"""

import hashlib
import json
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_core.catalog.catalog import read_json
from distill_core.errors import ModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))  # either is enough
TOKENIZER_CONFIG = "tokenizer_config.json"
TOKENIZER_FILES = (
    *(name for files in TOKENIZERS for name in files),
    *(TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json"),
)
_ELSEWHERE = {  # settings that make other files, or other arithmetic, decide: in which file, and the next step
    "transformers_weights": (CONFIG, f"take the setting out if {WEIGHTS} has the weights, else save the model again"),
    "configuration_files": (CONFIG, "take the setting out if config.json is the config"),
    "quantization_config": (CONFIG, "save the model again with plain weights (dequantize, then save_pretrained)"),
    "fast_tokenizer_files": (TOKENIZER_CONFIG, "take the setting out if tokenizer.json is the tokenizer"),
}


def has_tokenizer(names: Collection[str]) -> bool:
    """Tell whether there is a tokenizer among file names."""
    return any(set(files) <= set(names) for files in TOKENIZERS)


def check_tokenizer_files(names: Collection[str], where: str) -> None:
    """Refuse, with ModelError, file names among which there is no tokenizer: transformers would make an empty one up.

    `where` begins the message.
    """
    if has_tokenizer(names):
        return
    pieces = sorted(name for name in names if name.endswith(".model"))
    if pieces:
        raise ModelError(
            f"{where} has its tokenizer only as {pieces[0]}, which takes the package sentencepiece, not part of this "
            "app. Where it is installed, AutoTokenizer.from_pretrained(...).save_pretrained(...) writes the "
            "tokenizer.json that is wanted."
        )
    raise ModelError(f"{where}: tokenizer.json is missing, and so is vocab.txt, or vocab.json with merges.txt.")


def check_no_adapter(names: Collection[str], where: str) -> None:
    """Refuse, with ModelError, file names among which is an adapter's: the weights alone are not that model."""
    found = sorted(name for name in names if name == "adapter_config.json" or name.startswith("adapter_model"))
    if found:
        raise ModelError(
            f"{where} has an adapter ({found[0]}), so {WEIGHTS} alone is not the model. Merge it (PEFT: "
            "merge_and_unload) and save the whole model, or delete the adapter's files if the weights are meant alone."
        )


def check_settings(folder: Path, where: str) -> None:
    """Refuse, with ModelError, a config that lets anything but its folder's plain files decide, or fails when used."""
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
    """Return a sha256 over everything in a model folder that its answers depend on."""
    digest = hashlib.sha256(weights_sha256.encode())
    for part in (CONFIG, *TOKENIZER_FILES):
        if (path / part).is_file():
            digest.update(part.encode() + (path / part).read_bytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def only_these(path: Path) -> Iterator[Path]:
    """Return a folder, for as long as the block lasts, with only the files of a model's folder that may decide.

    Left out are paths in its tokenizer's config, often of the machine it was made on, and its config's wish for an
    implementation of attention: that may be a repository whose code would be fetched and run.
    """
    with tempfile.TemporaryDirectory(prefix="distill-model-") as name:
        view = Path(name)
        for part in (CONFIG, WEIGHTS, *TOKENIZER_FILES):
            if (path / part).is_file():
                (view / part).symlink_to((path / part).resolve())
        for part, left_out in ((CONFIG, "_implementation"), (TOKENIZER_CONFIG, "_file")):
            settings = read_json(view / part)
            kept = {setting: value for setting, value in settings.items() if left_out not in setting}
            if kept != settings:
                (view / part).unlink()
                (view / part).write_text(json.dumps(kept), encoding="utf-8")
        yield view
