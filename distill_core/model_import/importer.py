"""Add a model, from the hub or a folder: fetched or converted where need be, checked, then put on the list.

What is fetched or converted is made in a folder apart and renamed when it is complete and has passed every check. An
error or a cancel leaves nothing; what a kill leaves is never taken for a model and is swept up a day later.
"""

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_core.catalog.catalog import UNPACKED, ModelInfo, find_model
from distill_core.catalog.user_models import UserModel, add_user_model, check_single_task, list_user_models
from distill_core.data.tasks import get_task
from distill_core.errors import ModelError
from distill_core.model_import.checks import (
    PICKLE,
    check_config,
    check_folder,
    check_names,
    check_weights,
    file_names,
    reorder_classes,
)
from distill_core.model_import.hub import Listing, download, fetch_listing
from distill_core.model_import.pickle_conversion import convert as convert_weights
from distill_core.model_import.progress import Finding, ImportStep
from distill_core.models.encoder import remove_folder
from distill_core.paths import home
from distill_core.storage.checkpoints import RECORD
from distill_core.storage.model_folder import (
    CONFIG,
    TOKENIZER_FILES,
    WEIGHTS,
    file_sha256,
    find_model_folder,
    fingerprint,
    has_tokenizer,
)

Progress = ImportStep | Finding | ModelInfo
LEFT_AFTER = 86400.0  # seconds after which what lies in the folder apart is what a killed process left


def add_folder(
    path: str | Path, task: str, convert: bool = False, reorder: bool = False
) -> Generator[Progress, None, None]:
    """Add the model in a folder for a task: yield steps and findings, and last the ModelInfo of the added model.

    A folder of safetensors is used where it lies. With `convert` one that has only a pickle becomes a copy in the
    application's folder; with `reorder` any becomes a copy, its classes in the task's order. Raises ModelError after a
    failed finding; NeedsConversion or NeedsReordering where one of these two is what is wanted.
    """
    get_task(task)
    folder = find_model_folder(str(path))
    if folder is None:
        raise ModelError(
            f"{str(path)[:200]!r} {_why_none(str(path))}; name a folder with a model's {CONFIG}, weights and tokenizer."
        )
    folder = folder.resolve()
    names = file_names(folder, str(folder))
    if not reorder and (WEIGHTS in names or not convert):
        entry = UserModel(str(folder), str(folder), task, "folder", title=folder.name)
        check_single_task(entry)
        yield from check_folder(folder, task, str(folder))
        add_user_model(entry)
        yield find_model(entry.id)
        return
    yield from check_names(names, str(folder), convert)
    yield from check_config(folder, task, str(folder), reorder)
    weights = WEIGHTS if WEIGHTS in names else PICKLE
    name = f"{folder.name}-{fingerprint(folder, file_sha256(folder / weights))[:8]}{_reordered(task, reorder)}"
    entry = UserModel(
        f"converted/{name}", str(_place("converted", name)), task, "converted", title=folder.name, repo=str(folder)
    )
    check_single_task(entry)
    with _staging() as staging:
        for file in sorted(names & {CONFIG, *TOKENIZER_FILES} | {weights} - {PICKLE}):
            shutil.copyfile(folder / file, staging / file)
        if weights == PICKLE:
            yield from convert_weights(folder / PICKLE, staging / WEIGHTS)
        yield from _finish(staging, entry, reorder)
    yield find_model(entry.id)


def add_from_hub(
    repo: str,
    task: str,
    revision: str | None = None,
    convert: bool = False,
    reorder: bool = False,
    endpoint: str | None = None,
) -> Generator[Progress, None, None]:
    """Add a model of the hub for a task: yield steps and findings, and last the ModelInfo of the added model.

    `revision`: a branch, tag or commit, `main` for None; what is added is the commit it means now. `convert`: consent
    to convert a pickle. `reorder`: put its classes in the task's order. `endpoint`: see `hub.fetch_listing`. Closing
    the generator ends the transfer and leaves nothing. Raises ModelError with the next step; NeedsConversion or
    NeedsReordering where one of these two is what is wanted.
    """
    get_task(task)
    yield ImportStep(f"Asking for {repo[:200]}", 0, 0)
    listing = fetch_listing(repo, revision, endpoint)
    which = _reordered(task, reorder)
    path = _place("hub", f"{repo.replace('/', '--')}@{listing.sha}{which}")
    entry = UserModel(
        f"hub/{repo}@{listing.sha[:8]}{which}", str(path), task, "hub", title=repo, repo=repo, revision=listing.sha
    )
    check_single_task(entry)
    if path.exists():
        yield from check_folder(path, task, entry.id)
        add_user_model(entry)
    else:
        with _staging() as staging:
            yield from _fetch(listing, entry, convert, reorder, staging)
            yield from _finish(staging, entry, reorder)
    yield find_model(entry.id)


def _reordered(task: str, reorder: bool) -> str:
    """Return what the name of a copy ends with: one reordered for a task is another model."""
    return f"-{task}" if reorder else ""


def _fetch(listing: Listing, entry: UserModel, convert: bool, reorder: bool, staging: Path) -> Iterator[Progress]:
    """Fetch config and tokenizer, check them, and only then the weights; convert those where need be."""
    names = set(listing.files)
    yield from check_names(names, entry.id, convert)
    yield from download(listing, sorted(names & {CONFIG, *TOKENIZER_FILES}), staging)
    yield from check_config(staging, entry.task, entry.id, reorder)
    weights = WEIGHTS if WEIGHTS in names else PICKLE
    yield from download(listing, [weights], staging)
    if weights == PICKLE:
        yield from convert_weights(staging / PICKLE, staging / WEIGHTS)
        (staging / PICKLE).unlink()


def _finish(staging: Path, entry: UserModel, reorder: bool) -> Iterator[Progress]:
    """Reorder where that is wanted, check the weights, put the folder in its place and list it."""
    if reorder:
        yield from reorder_classes(staging, entry.task, entry.id)
    yield from check_weights(staging, entry.task, entry.id, reorder)
    _complete(staging, entry)


def _place(kind: str, name: str) -> Path:
    return home() / UNPACKED / kind / name


def _why_none(path: str) -> str:
    """Say what is at a path where there is no folder with a config, and what is missing."""
    try:
        names = {file.name for file in Path(path).expanduser().iterdir()}
    except FileNotFoundError:
        return "does not exist"
    except NotADirectoryError:
        return "is a file, no folder"
    except (OSError, RuntimeError, ValueError) as error:  # too long, no rights, an unknown ~user, a NUL
        return f"cannot be looked into ({error})"
    held = [name for name in (WEIGHTS, PICKLE) if name in names]
    lacking = CONFIG if has_tokenizer(names) else f"{CONFIG} and tokenizer files (tokenizer.json, or vocab.txt)"
    return f"has the weights ({held[0]}), but lacks {lacking}" if held else f"is a folder without {CONFIG}"


def _complete(staging: Path, entry: UserModel) -> None:
    """Note the weights' checksum, give the folder its name and list it, both or neither.

    A folder that has the name already is as good, and stays.
    """
    record = {"title": entry.title, "repo": entry.repo, "revision": entry.revision}
    record["weights_sha256"] = file_sha256(staging / WEIGHTS)
    (staging / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
    target = Path(entry.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = True
    try:
        staging.rename(target)
    except OSError as error:
        made = False
        if not target.exists():
            raise ModelError(f"Model {entry.id} cannot be put at {target} ({error}).") from error
    try:
        add_user_model(entry)
    except ModelError:
        if made and all(
            one.path != entry.path for one in list_user_models()
        ):  # another process may just have listed it
            remove_folder(target)
        raise


def _sweep(rest: Path) -> None:
    """Delete what is older than LEFT_AFTER; what cannot be deleted is left, and hinders nothing."""
    with contextlib.suppress(OSError):
        if time.time() - rest.stat().st_mtime > LEFT_AFTER:
            remove_folder(rest) if rest.is_dir() else rest.unlink()


@contextmanager
def _staging() -> Iterator[Path]:
    """Return an empty folder beside the models; what is left in it is deleted, and what killed processes left."""
    root = _place("staging", "")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for rest in (*root.iterdir(), *root.parent.glob("*/*.old")):  # of imports, and of removals
            _sweep(rest)
        folder = root / secrets.token_hex(8)
        folder.mkdir()
    except OSError as error:
        raise ModelError(f"{root} cannot be used ({error}); set DISTILL_HOME to a folder elsewhere.") from error
    try:
        yield folder
    except OSError as error:
        raise ModelError(
            f"The model cannot be written to {folder} ({error}): free some space, or set DISTILL_HOME to a folder "
            "elsewhere."
        ) from error
    finally:
        remove_folder(folder)
