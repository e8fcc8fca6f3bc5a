"""Download of a model's files from the Hugging Face hub: only on request, only known names, each file verified.

Files are streamed and not left to `hf_hub_download`: so one loop reports bytes, stops when the caller closes the
generator, resumes after a lost connection, and compares each file with its listed checksum.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from distill_core.errors import ModelError
from distill_core.model_import.progress import ImportStep

_MAX_FILE_BYTES = 2**50
TIMEOUT = 10.0  # seconds without a byte
RETRIES = 4  # in a row, after a lost connection, without a new byte
PAUSE = 1.0  # seconds before the first retry; doubles each time
REPORT_EVERY = 0.1  # seconds between reports of progress
CUT = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
CHECK_CONNECTION = "Check the connection (and HTTPS_PROXY, HF_ENDPOINT if they are set), then try again."


@dataclass(frozen=True)
class Preset:
    """A published model. `kind`: teacher or student; `words`: its description."""

    repo: str
    task: str
    kind: str
    words: str


_STUDENTS_BY_TASK = {  # the names of GLUE, which the published models carry; AD-KD has no student for WNLI
    "sst2": "SST-2", "cola": "CoLA", "mrpc": "MRPC", "qqp": "QQP", "stsb": "STS-B", "mnli": "MNLI", "qnli": "QNLI",
    "rte": "RTE",
}  # fmt: skip
_TEACHERS_BY_TASK = _STUDENTS_BY_TASK | {"wnli": "WNLI"}
PRESETS: tuple[Preset, ...] = (
    *(
        Preset(f"textattack/bert-base-uncased-{name}", task, "teacher", "BERT-base, 12 layers, by TextAttack")
        for task, name in _TEACHERS_BY_TASK.items()
    ),
    *(  # lower-case task names, see https://github.com/brucewsy/AD-KD
        Preset(
            f"Brucewsy/AD-KD_bert_uncased_L-6_H-768_A-12_{name.lower()}", task, "student",
            "AD-KD, 6 layers, by its authors",
        )
        for task, name in _STUDENTS_BY_TASK.items()
    ),
)  # fmt: skip


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: its size in bytes, and its SHA-256 (large files) or its git SHA-1."""

    name: str
    size: int
    sha256: str | None
    blob_id: str | None


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit (`sha`, 40 hex digits)."""

    repo: str
    sha: str
    endpoint: str
    files: Mapping[str, RemoteFile]


def fetch_listing(repo: str, revision: str | None = None, endpoint: str | None = None) -> Listing:
    """Return the files of a repository on the hub at a branch, tag or commit, `main` for None.

    `endpoint`: the hub's address; None for HF_ENDPOINT, else huggingface.co. Raises ModelError for an invalid name, and
    without a network, such a model or the permission to read it.
    """
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    with _as_model_errors(repo, revision, endpoint):
        info = HfApi(endpoint=endpoint).model_info(
            repo, revision=revision or None, files_metadata=True, timeout=TIMEOUT
        )
        if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
            raise ValueError(f"commit {info.sha!r:.60}")
        files = {}
        for one in info.siblings or []:
            if "/" in one.rfilename:  # a model's files are at the top level
                continue
            if type(one.size) is not int or not 0 <= one.size < _MAX_FILE_BYTES:
                raise ValueError(f"{one.rfilename!r:.60} has no size")
            files[one.rfilename] = RemoteFile(
                one.rfilename, one.size, one.lfs.sha256 if one.lfs else None, None if one.lfs else one.blob_id
            )
        return Listing(repo, str(info.sha), endpoint, files)


def download(listing: Listing, names: list[str], folder: Path) -> Iterator[ImportStep]:
    """Download files of a listing into a folder, each compared with its listed checksum; yield progress.

    Closing the generator stops the transfer. Raises ModelError if a file cannot be downloaded or written, or differs
    from its listing. Partial files remain in the folder, which the caller deletes.
    """
    total, before = sum(listing.files[name].size for name in names), 0
    free = shutil.disk_usage(folder).free
    if total > free:
        raise ModelError(
            f"{listing.repo} needs {total * 1e-6:.0f} MB, and {folder} has {free * 1e-6:.0f} MB left: free some "
            "space, or set DISTILL_HOME to a folder on another disk."
        )
    for name in names:
        file = listing.files[name]
        with _as_model_errors(listing.repo, listing.sha, listing.endpoint):
            for received in _fetch(listing, file, folder / name):
                yield ImportStep(f"Downloading {name}", before + received, total)
        _verify(file, folder / name)
        before += file.size


def _fetch(listing: Listing, file: RemoteFile, target: Path) -> Iterator[int]:
    """Write a file and yield the number of received bytes; after a lost connection the transfer is resumed."""
    url = hf_hub_url(listing.repo, file.name, revision=listing.sha, endpoint=listing.endpoint)
    most_received = tries = 0
    with target.open("wb") as stream:
        while True:
            try:
                yield from _receive(url, file, stream)
                return
            except CUT:
                if stream.tell() == file.size:  # all bytes were received, only the end of the stream was lost
                    return
                tries = 0 if stream.tell() > most_received else tries + 1
                most_received = max(most_received, stream.tell())
                if tries >= RETRIES:
                    raise
            retry_time = time.monotonic() + PAUSE * 2**tries
            while time.monotonic() < retry_time:  # the caller may close the generator meanwhile
                yield stream.tell()
                time.sleep(REPORT_EVERY)


def _receive(url: str, file: RemoteFile, stream: BinaryIO) -> Iterator[int]:
    """Append the missing part of a file to the stream, or all of it if the server cannot send a part."""
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if stream.tell():
        headers["Range"] = f"bytes={stream.tell()}-"
    reported = 0.0
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        hf_raise_for_status(response)
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            stream.seek(0)
            stream.truncate()
        for chunk in response.iter_bytes():
            stream.write(chunk)
            if stream.tell() > file.size:
                raise ModelError(
                    f"The hub sends more of {file.name} than the {file.size} bytes it listed; try again later."
                )
            if time.monotonic() - reported >= REPORT_EVERY:
                reported = time.monotonic()
                yield stream.tell()
    if stream.tell() < file.size:
        raise httpx2.RemoteProtocolError(f"{file.name} ended after {stream.tell()} of {file.size} bytes")
    yield stream.tell()


def _verify(file: RemoteFile, path: Path) -> None:
    """Compare a file with its listed checksum; ModelError if it differs."""
    wanted = file.sha256 or file.blob_id or "none"
    with path.open("rb") as stream:
        if file.sha256 is not None:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
        else:  # git's id of a file: the SHA-1 of a header and its content
            header_hash = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
            checksum = hashlib.file_digest(stream, lambda: header_hash).hexdigest()
    if checksum != wanted:
        raise ModelError(
            f"{file.name} was damaged in transfer (checksum {checksum[:12]}…, listed {wanted[:12]}…); it was deleted. "
            "Try again; if that fails, use another connection or mirror."
        )


@contextmanager
def _as_model_errors(repo: str, revision: str | None, endpoint: str) -> Iterator[None]:
    """Convert the errors of a connection to the hub to a ModelError with the next step."""
    endpoint = _without_password(endpoint)
    try:
        yield
    except HFValidationError as error:
        raise ModelError(f"{repo[:200]!r} is not a valid id on the hub; wanted ORG/NAME ({error}).") from error
    except OfflineModeIsEnabled as error:
        raise ModelError(
            "HF_HUB_OFFLINE is set, so nothing is downloaded: unset it and restart, or add a folder."
        ) from error
    except GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: accept its terms at {endpoint}/{repo}, then set HF_TOKEN to your token "
            f"({endpoint}/settings/tokens) and restart."
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"There is no model {repo} on {endpoint}, or it is private: check the name; for a private one set HF_TOKEN "
            "to a token that may read it."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"{repo} has no revision {revision!r:.80}; leave it out, or name a branch or commit."
        ) from error
    except RemoteEntryNotFoundError as error:
        raise ModelError(
            f"{repo} lists a file that does not exist ({error.response.url}); choose another model."
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(_status_words(repo, endpoint, error.response.status_code)) from error
    except CUT as error:
        raise ModelError(
            f"The connection to {endpoint} failed or was lost ({_describe(error)}). {CHECK_CONNECTION}"
        ) from error
    except httpx2.HTTPError as error:
        raise ModelError(f"{endpoint} cannot be reached ({_describe(error)}). {CHECK_CONNECTION}") from error
    except OSError as error:
        raise ModelError(
            f"The files of {repo} cannot be written ({error}): free some space, or set DISTILL_HOME to a folder "
            "on another disk."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, httpx2.InvalidURL) as error:
        raise ModelError(
            f"{endpoint} does not respond as a hub does ({_describe(error)}); check HF_ENDPOINT."
        ) from error


def _status_words(repo: str, endpoint: str, status: int) -> str:
    if status in (401, 403):
        return (
            f"{endpoint} refuses {repo} (status {status}): set HF_TOKEN to a valid token that may read it, and accept "
            f"the model's terms at {endpoint}/{repo} if it has any."
        )
    if status == 404:
        return f"There is no model {repo} on {endpoint}: check the name, and HF_ENDPOINT if it is set."
    return f"{endpoint} responds for {repo} with status {status}; try again later."


def _describe(error: Exception) -> str:
    return _without_password(f"{type(error).__name__}: {error}")[:300]


def _without_password(words: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", words)
