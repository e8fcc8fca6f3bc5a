"""Adding a model from the hub or a folder: form, checks, progress, cancellation and consent."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import streamlit as st

from distill_core.catalog.catalog import ModelInfo
from distill_core.data.tasks import TASKS
from distill_core.errors import NeedsConversion, NeedsReordering
from distill_core.model_import.progress import Finding, ImportStep
from pages.components.background_job import Job
from pages.components.formatting import format_size
from pages.components.models.detail import explain_address
from pages.components.models.markup import findings_list
from pages.components.page_frame import escape_markdown, page_link, show_error

WATCH_SECONDS = 0.5
HUB, FOLDER = "From the Hugging Face hub", "From a folder"
OTHER_MODEL = "Another model"
_FIELDS = ("models.repo", "models.revision", "models.folder")
_EMPTIED = "models.emptied"  # session key: the import after which the form was emptied
Progress = ImportStep | Finding | ModelInfo
Work = Callable[[frozenset[str]], Iterator[Progress]]  # given what the user has agreed to: "convert", "reorder"


class Imports:
    """The one import at a time that all visitors of a server share: the one under way, else the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.job: Job[Progress] | None = None
        self._last: tuple[str, Work, frozenset[str]] | None = None

    @property
    def under_way(self) -> bool:
        """Whether an import has begun and not ended."""
        return self.job is not None and not self.job.over

    def begin(self, title: str, work: Work) -> None:
        """Begin an import, unless one is under way."""
        with self._lock:
            if not self.under_way:
                self._start(title, work, frozenset())

    def agree(self, job: Job[Progress], consent: str) -> None:
        """Begin an import again with one consent more; nothing where another has begun since it asked."""
        with self._lock:
            if self._last is not None and self.job is job and not self.under_way:
                title, work, agreed = self._last
                self._start(title, work, agreed | {consent})

    def dismiss(self, job: Job[Progress]) -> None:
        """Forget an import that is over; nothing where another has begun since."""
        with self._lock:
            if self.job is job and not self.under_way:
                self.job = self._last = None

    def _start(self, title: str, work: Work, agreed: frozenset[str]) -> None:
        self._last = title, work, agreed
        self.job = Job(title, lambda: work(agreed))


@st.cache_resource(show_spinner=False)
def imports() -> Imports:
    """Return the server's imports."""
    return Imports()


def draw_add_model() -> None:
    """Draw the form of a new model, and under it the import under way or the last one."""
    _empty_form_after_adding()
    st.subheader("Add a model")
    with st.container(horizontal=True):
        where = st.segmented_control("Where from", (HUB, FOLDER), default=HUB, required=True, key="models.where")
        task = st.selectbox(
            "Task it was trained for",
            list(TASKS),
            format_func=lambda name: TASKS[name].title,
            key="models.task",
            persist_state="session",
            width=280,
        )
    (_draw_hub_form if where == HUB else _draw_folder_form)(task)
    busy = imports().under_way
    st.fragment(_draw_import, run_every=WATCH_SECONDS if busy else None)(busy)


def _empty_form_after_adding() -> None:
    """Empty the form's fields once for each import that added a model; after a failure they can be corrected."""
    job = imports().job
    if job is not None and _added(job) is not None and st.session_state.get(_EMPTIED) is not job:
        st.session_state[_EMPTIED] = job
        for name in _FIELDS:
            st.session_state[name] = ""


def _added(job: Job[Progress]) -> ModelInfo | None:
    """Return the model that an import has added, None where it is under way or added none."""
    models = [event for event in job.events if isinstance(event, ModelInfo)]
    return models[-1] if job.over and job.error is None and models else None


def _draw_hub_form(task: str) -> None:
    from distill_core.model_import.hub import PRESETS  # here: it knows the hub's library

    fitting = {f"{preset.words}: {preset.repo}": preset.repo for preset in PRESETS if preset.task == task}
    chosen = st.selectbox(
        "Popular models for this task",
        [OTHER_MODEL, *fitting],
        key=f"models.preset.{task}",
        width=620,
        help="Published on the hub by others. Nothing is downloaded until you press the button.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if chosen == OTHER_MODEL:
            repo = st.text_input("Model id", placeholder="organisation/name", key="models.repo", width=420).strip()
        else:
            repo = fitting[chosen]
            st.text_input("Model id", repo, disabled=True, width=420)
        revision = st.text_input("Revision", placeholder="main", key="models.revision", width=180).strip()
        _draw_add_button(f"Adding {repo}", repo, _hub_work(repo, task, revision or None))
    st.caption("Downloads the model from huggingface.co (or HF_ENDPOINT) into the app’s folder.")


def _draw_folder_form(task: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        folder = st.text_input(
            "Folder", placeholder="with config.json, model.safetensors and a tokenizer", key="models.folder", width=620
        ).strip()
        _draw_add_button(f"Adding {folder}", folder, partial(_folder_work, folder, task))


def _draw_add_button(title: str, named: str, work: Work) -> None:
    st.button(
        "Check and add",
        type="primary",
        icon=":material/add:",
        key="models.add",
        disabled=not named or imports().under_way,
        on_click=imports().begin,
        args=(title, work),
    )


def _hub_work(repo: str, task: str, revision: str | None) -> Work:
    """Return the work of adding a model of the hub; what is agreed to later is about the commit first asked for."""
    commit = ""

    def work(agreed: frozenset[str]) -> Iterator[Progress]:
        from distill_core.model_import.hub import fetch_listing
        from distill_core.model_import.importer import add_from_hub

        nonlocal commit
        yield ImportStep(f"Looking up {repo}", 0, 0)
        commit = commit or fetch_listing(repo, revision).sha
        yield from add_from_hub(repo, task, commit, convert="convert" in agreed, reorder="reorder" in agreed)

    return work


def _folder_work(folder: str, task: str, agreed: frozenset[str]) -> Iterator[Progress]:
    from distill_core.model_import.importer import add_folder

    return add_folder(Path(folder).expanduser(), task, convert="convert" in agreed, reorder="reorder" in agreed)


def _draw_import(drawn_under_way: bool) -> None:
    """Draw the import under way, or how the last one ended; when one ends, the whole page is drawn anew."""
    job = imports().job
    if job is None:
        return
    if job.over and drawn_under_way:
        st.rerun()
    events = tuple(job.events)
    with st.container(border=True, key="import"):
        st.markdown(f"**{escape_markdown(job.title)}**")
        found = [event for event in events if isinstance(event, Finding) and event.words != str(job.error)]
        if _added(job) is None:
            st.html(findings_list(found))
        else:
            with st.expander("Checks", expanded=any(one.warning for one in found)):
                st.html(findings_list(found))
        if job.over:
            _draw_outcome(job)
            return
        steps = [event for event in events if isinstance(event, ImportStep)]
        words = "Cancelling …" if job.cancelled else _step_text(steps[-1]) if steps else "Working …"
        share = min(1.0, steps[-1].done / steps[-1].total) if steps and steps[-1].total else 0.0
        st.progress(share, text=escape_markdown(words))
        st.button("Cancel", icon=":material/close:", key="models.cancel", disabled=job.cancelled, on_click=job.cancel)


def _step_text(step: ImportStep) -> str:
    return f"{step.what}: {format_size(step.done)} of {format_size(step.total)}" if step.total else f"{step.what} …"


def _draw_outcome(job: Job[Progress]) -> None:
    added = _added(job)
    if isinstance(job.error, NeedsConversion):
        _draw_consent(
            job,
            "convert",
            "Convert and add",
            "PyTorch’s restricted unpickler reads the file once, in a separate process, and refuses anything but "
            "tensors. Only a safetensors copy is kept.",
        )
    elif isinstance(job.error, NeedsReordering):
        _draw_consent(
            job,
            "reorder",
            "Reorder and add",
            "Makes a copy whose classifier gives the classes in the task’s order. The predictions stay the same.",
        )
    elif job.error is not None:
        show_error(job.error)
    elif added is not None:
        words = f"from the folder {added.id}" if added.kind == "folder" else f"with the id {added.id}"
        st.success(escape_markdown(f"{added.title} was added {words}."), icon=":material/check:")
        page_link("pages/explain.py", "Explain with this model", ":material/visibility:", **explain_address(added))
    else:
        st.info("Cancelled. Nothing was added.", icon=":material/info:")
    st.button("Close", key="models.dismiss", on_click=imports().dismiss, args=(job,))


def _draw_consent(job: Job[Progress], consent: str, words: str, help_text: str) -> None:
    st.warning(escape_markdown(str(job.error)), icon=":material/help:")
    agree, key = imports().agree, f"models.{consent}"
    st.button(words, icon=":material/check:", key=key, on_click=agree, args=(job, consent), help=help_text)
