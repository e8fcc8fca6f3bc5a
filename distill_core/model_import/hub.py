"""Fetch a model's files from the Hugging Face hub: only when asked, only files of known names, each one verified.

Files are streamed rather than handed to `hf_hub_download`: so one loop reports bytes, ends when the caller closes the
generator, goes on where a cut connection left off, and compares what came with what the hub had listed.
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

_MOST_BYTES = 2**50  # of one file
TIMEOUT = 10.0  # seconds without a byte
RETRIES = 4  # in a row, of a connection that was cut and brings nothing more
PAUSE = 1.0  # seconds before the first of them; doubles each time
REPORT_EVERY = 0.1  # seconds between reports of progress
CUT = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
INFLUENCES = "Check the connection (and HTTPS_PROXY, HF_ENDPOINT if they are set), then try again."


@dataclass(frozen=True)
class Preset:
    """A model known to be published. `kind`: teacher or student; `words`: what it is."""

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
    *(  # "task name with lower case", says https://github.com/brucewsy/AD-KD
        Preset(
            f"Brucewsy/AD-KD_bert_uncased_L-6_H-768_A-12_{name.lower()}", task, "student",
            "AD-KD, 6 layers, by its authors",
        )
        for task, name in _STUDENTS_BY_TASK.items()
    ),
)  # fmt: skip


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it: bytes, and its sha256 (a large file) or git's sha1 of it."""

    name: str
    size: int
    sha256: str | None
    blob_id: str | None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit (`sha`, 40 hex digits)."""

    repo: str
    sha: str
    endpoint: str
    files: Mapping[str, RemoteFile]


def fetch_listing(repo: str, revision: str | None = None, endpoint: str | None = None) -> Listing:
    """Ask the hub what a repository holds at a branch, tag or commit, `main` for None.

    `endpoint`: the hub's address; None for HF_ENDPOINT, else huggingface.co. Raises ModelError with the next step
    for a name that cannot be one, and when there is no network, no such model or no right to it.
    """
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    with _told(repo, revision, endpoint):
        info = HfApi(endpoint=endpoint).model_info(
            repo, revision=revision or None, files_metadata=True, timeout=TIMEOUT
        )
        if not re.fullmatch(r"[0-9a-f]{40}", info.sha or ""):
            raise ValueError(f"commit {info.sha!r:.60}")
        files = {}
        for one in info.siblings or []:
            if "/" in one.rfilename:  # a model's own files lie at the top
                continue
            if type(one.size) is not int or not 0 <= one.size < _MOST_BYTES:
                raise ValueError(f"{one.rfilename!r:.60} has no size")
            files[one.rfilename] = RemoteFile(
                one.rfilename, one.size, one.lfs.sha256 if one.lfs else None, None if one.lfs else one.blob_id
            )
        return Listing(repo, str(info.sha), endpoint, files)


def download(listing: Listing, names: list[str], folder: Path) -> Iterator[ImportStep]:
    """Fetch files of a listing into a folder, each compared with its listed checksum; yield progress.

    Closing the generator ends the transfer. Raises ModelError with the next step when a file cannot be had or
    written, or is not what was listed. What has come by then stays in the folder, which the caller deletes.
    """
    total, before = sum(listing.files[name].size for name in names), 0
    free = shutil.disk_usage(folder).free
    if total > free:
        raise ModelError(
            f"{listing.repo} takes {total * 1e-6:.0f} MB, and {folder} has {free * 1e-6:.0f} MB left: free some "
            "space, or set DISTILL_HOME to a folder elsewhere."
        )
    for name in names:
        file = listing.files[name]
        with _told(listing.repo, listing.sha, listing.endpoint):
            for received in _fetch(listing, file, folder / name):
                yield ImportStep(f"Downloading {name}", before + received, total)
        _verify(file, folder / name)
        before += file.size


def _fetch(listing: Listing, file: RemoteFile, target: Path) -> Iterator[int]:
    """Write a file and yield the bytes that have come; a cut connection is taken up again where it was cut."""
    url = hf_hub_url(listing.repo, file.name, revision=listing.sha, endpoint=listing.endpoint)
    farthest = tries = 0
    with target.open("wb") as stream:
        while True:
            try:
                yield from _receive(url, file, stream)
                return
            except CUT:
                if stream.tell() == file.size:  # all had come, only the end was not said
                    return
                tries = 0 if stream.tell() > farthest else tries + 1
                farthest = max(farthest, stream.tell())
                if tries >= RETRIES:
                    raise
            again = time.monotonic() + PAUSE * 2**tries
            while time.monotonic() < again:  # the caller may close the generator meanwhile
                yield stream.tell()
                time.sleep(REPORT_EVERY)


def _receive(url: str, file: RemoteFile, stream: BinaryIO) -> Iterator[int]:
    """Append what is missing of a file to the stream, or all of it where the server cannot send a part."""
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
                raise ModelError(f"The hub sends more of {file.name} than the {file.size} bytes it listed; try later.")
            if time.monotonic() - reported >= REPORT_EVERY:
                reported = time.monotonic()
                yield stream.tell()
    if stream.tell() < file.size:
        raise httpx2.RemoteProtocolError(f"{file.name} ended after {stream.tell()} of {file.size} bytes")
    yield stream.tell()


def _verify(file: RemoteFile, path: Path) -> None:
    """Compare a file with its listed checksum; ModelError where it is another."""
    wanted = file.sha256 or file.blob_id or "none"
    with path.open("rb") as stream:
        if file.sha256 is not None:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        else:  # as git names a file: the sha1 of a header and its content
            begun = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
            found = hashlib.file_digest(stream, lambda: begun).hexdigest()
    if found != wanted:
        raise ModelError(
            f"{file.name} came damaged (checksum {found[:12]}…, listed {wanted[:12]}…); it was deleted. Try again, and "
            "if it stays so, another connection or mirror."
        )


@contextmanager
def _told(repo: str, revision: str | None, endpoint: str) -> Iterator[None]:
    """Turn what can go wrong between here and the hub into one message with a next step."""
    endpoint = _without_password(endpoint)
    try:
        yield
    except HFValidationError as error:
        raise ModelError(f"{repo[:200]!r} cannot be a model on the hub; wanted ORG/NAME ({error}).") from error
    except OfflineModeIsEnabled as error:
        raise ModelError(
            "HF_HUB_OFFLINE is set, so nothing is fetched: unset it and start again, or add a folder."
        ) from error
    except GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: accept its terms at {endpoint}/{repo}, then set HF_TOKEN to a token of yours "
            f"({endpoint}/settings/tokens) and start again."
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
        raise ModelError(f"{repo} lists a file that is not there ({error.response.url}); tell its author.") from error
    except HfHubHTTPError as error:
        raise ModelError(_status_words(repo, endpoint, error.response.status_code)) from error
    except CUT as error:
        raise ModelError(f"The connection to {endpoint} failed or was cut ({_words(error)}). {INFLUENCES}") from error
    except httpx2.HTTPError as error:
        raise ModelError(f"{endpoint} cannot be asked ({_words(error)}). {INFLUENCES}") from error
    except OSError as error:
        raise ModelError(
            f"The files of {repo} cannot be written ({error}): free some space, or set DISTILL_HOME to a folder "
            "elsewhere."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, httpx2.InvalidURL) as error:
        raise ModelError(f"{endpoint} does not answer as a hub does ({_words(error)}); check HF_ENDPOINT.") from error


def _status_words(repo: str, endpoint: str, status: int) -> str:
    if status in (401, 403):
        return (
            f"{endpoint} refuses {repo} (status {status}): set HF_TOKEN to a valid token that may read it, and accept "
            f"the model's terms at {endpoint}/{repo} if it has any."
        )
    if status == 404:
        return f"There is no model {repo} on {endpoint}: check the name, and HF_ENDPOINT if it is set."
    return f"{endpoint} answers for {repo} with status {status}; try again later."


def _words(error: Exception) -> str:
    return _without_password(f"{type(error).__name__}: {error}")[:300]


def _without_password(words: str) -> str:
    return re.sub(r"//[^/\s]*@", "//", words)
