"""The settings a user stores for all sessions: one JSON file in the application's folder."""

import json
import os
from dataclasses import asdict, dataclass

import psutil

from distill_core.errors import ConfigError
from distill_core.json_file import read_json_object
from distill_core.paths import home

DEFAULT_MEMORY_SHARE = 0.25  # of the machine's memory: the default limit for open models
MAX_MEMORY_MB = 2**53 - 1  # the largest number that the field on the Models page can hold


@dataclass(frozen=True)
class Settings:
    """The stored settings.

    `glue_dir`: a folder of GLUE files, None to use the hub's cache or the bundled sample. `model_memory_mb`: the limit
    for the weights of open models in 10^6 bytes, None for a quarter of the machine's memory.
    """

    glue_dir: str | None = None
    model_memory_mb: int | None = None


def read_settings() -> Settings:
    """Return the stored settings, or the defaults if none are stored; ConfigError for a damaged file."""
    path = home() / "settings.json"
    if not path.exists():
        return Settings()
    try:
        stored = read_json_object(path)
        folder = stored.get("glue_dir")
        if folder is not None and not isinstance(folder, str):
            raise ValueError(f"glue_dir is {folder!r}")
        memory = stored.get("model_memory_mb")
        if memory is not None and (type(memory) is not int or not 1 <= memory <= MAX_MEMORY_MB):
            raise ValueError(f"model_memory_mb is {memory!r:.40}, not a whole number from 1 to {MAX_MEMORY_MB}")
        return Settings(folder, memory)
    except (OSError, ValueError) as error:
        raise ConfigError(f"The settings file {path} cannot be read ({error}); correct or delete it.") from error


def model_memory_bytes() -> int:
    """Return the limit for the weights of open models in bytes: the setting, or a quarter of the machine's memory."""
    chosen = read_settings().model_memory_mb
    return int(psutil.virtual_memory().total * DEFAULT_MEMORY_SHARE) if chosen is None else chosen * 1_000_000


def write_settings(settings: Settings) -> None:
    """Store the settings; the file is replaced in one step."""
    path = home() / "settings.json"
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(asdict(settings), indent=2), encoding="utf-8")
    part.replace(path)
