"""Adding a model from the hub or a folder: downloaded or converted if needed, checked, then listed.

A copy is built in a staging folder and renamed when it is complete and has passed all checks. After an error or a
cancellation nothing is left; what a kill leaves is never read as a model and is deleted a day later.
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
STALE_SECONDS = 86400.0  # age of a staging folder that no running process can own


def add_folder(
    path: str | Path, task: str, convert: bool = False, reorder: bool = False
) -> Generator[Progress, None, None]:
    """Add the model in a folder for a task: yield steps and findings, and last the ModelInfo of the added model.

    A folder of safetensors is used in place. With `convert` one with only a pickle is copied to the application's
    folder; with `reorder` any is copied, its classes in the task's order. Raises ModelError after a failed finding;
    NeedsConversion or NeedsReordering if that option is needed.
    """
    get_task(task)
    folder = find_model_folder(str(path))
    if folder is None:
        raise ModelError(
            f"{str(path)[:200]!r} {_why_no_model(str(path))}; choose a folder with a model's {CONFIG}, "
            "weights and tokenizer."
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
    name = f"{folder.name}-{fingerprint(folder, file_sha256(folder / weights))[:8]}{_reordered_suffix(task, reorder)}"
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
    """Add a model on the hub for a task: yield steps and findings, and last the ModelInfo of the added model.

    `revision`: a branch, tag or commit, `main` for None; the commit it means now is added. `convert`: consent
    to convert a pickle. `reorder`: put its classes in the task's order. `endpoint`: see `hub.fetch_listing`. Closing
    the generator stops the transfer and leaves nothing. Raises ModelError with the next step; NeedsConversion or
    NeedsReordering if that option is needed.
    """
    get_task(task)
    yield ImportStep(f"Looking up {repo[:200]}", 0, 0)
    listing = fetch_listing(repo, revision, endpoint)
    suffix = _reordered_suffix(task, reorder)
    path = _place("hub", f"{repo.replace('/', '--')}@{listing.sha}{suffix}")
    entry = UserModel(
        f"hub/{repo}@{listing.sha[:8]}{suffix}", str(path), task, "hub", title=repo, repo=repo, revision=listing.sha
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


def _reordered_suffix(task: str, reorder: bool) -> str:
    """Return the suffix of a copy's name: one reordered for a task is another model."""
    return f"-{task}" if reorder else ""


def _fetch(listing: Listing, entry: UserModel, convert: bool, reorder: bool, staging: Path) -> Iterator[Progress]:
    """Download config and tokenizer, check them, and only then download the weights, converted if needed."""
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
    """Reorder the classes if requested, check the weights, move the folder to its place and list it."""
    if reorder:
        yield from reorder_classes(staging, entry.task, entry.id)
    yield from check_weights(staging, entry.task, entry.id, reorder)
    _complete(staging, entry)


def _place(kind: str, name: str) -> Path:
    return home() / UNPACKED / kind / name


def _why_no_model(path: str) -> str:
    """Return why a path is no folder of a model: what it is, and what is missing."""
    try:
        names = {file.name for file in Path(path).expanduser().iterdir()}
    except FileNotFoundError:
        return "does not exist"
    except NotADirectoryError:
        return "is a file, not a folder"
    except (OSError, RuntimeError, ValueError) as error:  # too long, no permission, an unknown ~user, a NUL
        return f"cannot be read ({error})"
    weights = [name for name in (WEIGHTS, PICKLE) if name in names]
    lacking = CONFIG if has_tokenizer(names) else f"{CONFIG} and tokenizer files (tokenizer.json, or vocab.txt)"
    return f"has the weights ({weights[0]}), but lacks {lacking}" if weights else f"is a folder without {CONFIG}"


def _complete(staging: Path, entry: UserModel) -> None:
    """Record the weights' checksum, rename the folder to its place and list it, both or neither.

    A folder that exists there already is equivalent, and stays.
    """
    record = {"title": entry.title, "repo": entry.repo, "revision": entry.revision}
    record["weights_sha256"] = file_sha256(staging / WEIGHTS)
    (staging / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
    target = Path(entry.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    created = True
    try:
        staging.rename(target)
    except OSError as error:
        created = False
        if not target.exists():
            raise ModelError(
                f"Model {entry.id} cannot be moved to {target} ({error}); check the permissions there."
            ) from error
    try:
        add_user_model(entry)
    except ModelError:
        if created and all(
            one.path != entry.path for one in list_user_models()
        ):  # another process may just have listed it
            remove_folder(target)
        raise


def _sweep(rest: Path) -> None:
    """Delete a file or folder older than STALE_SECONDS; one that cannot be deleted stays and does no harm."""
    with contextlib.suppress(OSError):
        if time.time() - rest.stat().st_mtime > STALE_SECONDS:
            remove_folder(rest) if rest.is_dir() else rest.unlink()


@contextmanager
def _staging() -> Iterator[Path]:
    """Yield an empty folder beside the models, deleted at the end; old ones of killed processes are deleted, too."""
    root = _place("staging", "")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for rest in (*root.iterdir(), *root.parent.glob("*/*.old")):  # of imports, and of removals
            _sweep(rest)
        folder = root / secrets.token_hex(8)
        folder.mkdir()
    except OSError as error:
        raise ModelError(f"{root} cannot be used ({error}); set DISTILL_HOME to another folder.") from error
    try:
        yield folder
    except OSError as error:
        raise ModelError(
            f"The model cannot be written to {folder} ({error}): free some space, or set DISTILL_HOME to a folder "
            "on another disk."
        ) from error
    finally:
        remove_folder(folder)
