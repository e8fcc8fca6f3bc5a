"""The form of a new run: labels, ranges and help from `config.FIELDS`, values in the visitor's session."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from distill_core.catalog.catalog import find_model, list_models
from distill_core.catalog.compatibility import find_teacher
from distill_core.config.method_spec import WARM_UP
from distill_core.config.methods import DISTILLATION_METHODS
from distill_core.config.recipes import GLUE_SIZES, WIDTH, Recipe, changes_in_words, recipes_for
from distill_core.config.run_config import FIELDS, RunConfig
from distill_core.data.datasets import describe_source, load_split
from distill_core.data.tasks import TASKS, get_task
from distill_core.devices import device_title, devices_for, kind_of, usable_devices
from distill_core.errors import DistillError, ModelError
from distill_core.runs.duration_estimate import estimate_duration
from distill_core.runs.lifecycle import ACTIVE
from distill_core.runs.queue import run_devices
from distill_core.runs.store import Store
from pages.components.data_sources import FIRST_SOURCE, HUB, source_for, source_titles
from pages.components.formatting import format_approximate_duration
from pages.components.page_frame import escape_markdown, show_error
from pages.components.run.loss_formula import draw_loss
from pages.components.run.markup import estimate_basis, time_estimate
from pages.components.run.setting_labels import BEGINNINGS, CHOICES, EMPTY, unread

COMMON_ROWS = (  # of the folded settings that every method reads, or that weigh what a method adds
    ("device", "dropout", "evaluate_every", "max_length"),
    ("kd_form", "temperature_schedule", "weak_teacher"),
    ("monitor", "early_stopping_patience", "max_minutes", "keep"),
    ("micro_batch", "precision"),
    WARM_UP,
)
IN_A_ROW = 4
RECIPE = "distill.recipe"
STEPS = {"steps": 50, "train_examples": 100, "batch_size": 8, "alpha": 0.1, "temperature": 0.5}
FORMATS = {
    "learning_rate": "%.1e",
    "alpha": "%.2f",
    "temperature": "%.1f",
    "method_weight": "%.2f",
    "pkd_weight": "%.1f",
    "rationale_share": "%.2f",
}


def key(name: str) -> str:
    """Return the session key of a setting."""
    return f"distill.{name}"


def fill(config: RunConfig) -> None:
    """Put a run's settings into the form; call it before the form is drawn."""
    for name in FIELDS:
        st.session_state[key(name)] = getattr(config, name)


def config_in_form() -> RunConfig:
    """Return what the form holds now; ConfigError naming every setting that cannot be used.

    Reads the session, so that a callback sees what was typed just before its button was pressed.
    """
    given = {name: st.session_state[key(name)] for name in FIELDS if key(name) in st.session_state}
    return RunConfig.from_values(given | {"name": (given.get("name") or "").strip()})


def draw_settings() -> None:
    """Draw what is learned from what, for how long and where; the rarer settings folded away."""
    for name, spec in FIELDS.items():
        st.session_state.setdefault(key(name), spec.default)
    models = {model.id: model for model in list_models() if model.task == st.session_state[key("task")]}
    task, model, student, layers = st.columns((1.4, 1.2, 1.4, 0.8), gap="small")
    with task:
        _choice("task", {task.name: task.short_title for task in TASKS.values()}, on_change=_change_task)
    with model:
        _choice("teacher", {model.id: model.title for model in models.values()}, typed=True)
    with student:
        others = {name: info.title for name, info in models.items() if name != st.session_state[key("teacher")]}
        _choice("student_init", BEGINNINGS | others, typed=True)
    with layers:
        own = st.session_state[key("student_init")] not in BEGINNINGS
        _number("student_layers", _teacher_layers(), disabled=own)
    source, examples, seed = st.columns((1.5, 1.5, 1), gap="small")
    with source:
        value = st.session_state[key("source")] or FIRST_SOURCE
        _choice("source", source_titles(st.session_state[key("task")], value), typed=True)
    with examples:
        _number("train_examples")
    with seed:
        _number("seed")
    _numbers("steps", "batch_size", "learning_rate")


def draw_more_settings() -> None:
    """Draw the rarer settings, folded away; of those that only some methods read, the chosen one's."""
    with st.expander("More settings", icon=":material/tune:"):
        devices = {"auto": f"Automatic ({device_title(kind_of(usable_devices()[0]))})"}
        titles = CHOICES | {"device": devices | {name: device_title(name) for name in usable_devices()}}
        own = DISTILLATION_METHODS[st.session_state[key("method")]].own_settings
        own_rows = [own[at : at + IN_A_ROW] for at in range(0, len(own), IN_A_ROW)]
        rows = [[name for name in row if not _unread(name)] for row in (*COMMON_ROWS, *own_rows)]
        for names in filter(None, rows):
            for name, column in zip(names, st.columns(len(names), gap="small"), strict=True):
                with column:
                    _choice(name, titles[name]) if name in titles else _number(name)


def draw_name() -> None:
    """Draw the field for the run's name."""
    spec = FIELDS["name"]
    st.text_input(
        spec.label, max_chars=int(spec.maximum or 0), placeholder="Optional", key=key("name"), persist_state="session"
    )


def draw_method() -> None:
    """Draw the choice of the method and how its terms are weighed."""
    _choice("method", {name: info.title for name, info in DISTILLATION_METHODS.items()})
    _recipe()
    method = DISTILLATION_METHODS[st.session_state[key("method")]]
    st.caption(method.score_words if get_task(st.session_state[key("task")]).span else method.words)
    _numbers("alpha", "temperature")
    _numbers(*method.weights)
    if method.compared_weight is not None and method.compared_weight < 1:
        st.caption(
            f"Try a method weight of {method.compared_weight:g}. At 1 the method’s terms can outweigh labels and "
            "answers (measured on SST-2). The run’s page shows each term’s share of the gradient."
        )


def _recipe() -> None:
    """Draw the choice of published settings, where there are some, and what was changed from those in use."""
    task, method = st.session_state[key("task")], st.session_state[key("method")]
    found = recipes_for(task, method)
    if not found:
        return
    recipe, changed = found[0], True
    if st.session_state.get(RECIPE) == recipe.name:
        said = ""
        with contextlib.suppress(DistillError):  # what is wrong with the form is said below
            config, width = config_in_form(), _teacher_width()
            said = changes_in_words(recipe, config, _there(), width)
            changed = bool(recipe.changes(config, _there(), width))
        st.caption(escape_markdown(f"{recipe.source}. {said}"))
    if changed:
        words = f"Use the published settings for {get_task(task).short_title}"
        icon, place = ":material/article:", "distill.use_recipe"
        st.button(words, icon=icon, type="tertiary", key=place, on_click=_use, args=(recipe,))


def _use(recipe: Recipe) -> None:
    """Put a recipe's settings into the form."""
    try:
        values = recipe.values(_there(), _teacher_width())
    except DistillError:  # the data cannot be read: said where they are described
        return
    st.session_state[RECIPE] = recipe.name
    for setting, value in values.items():
        st.session_state[key(setting)] = value


def _there() -> int:
    """Return the number of training examples in the form's source; the hub, which is not asked, has those of GLUE."""
    task, source = st.session_state[key("task")], st.session_state[key("source")] or FIRST_SOURCE
    return GLUE_SIZES[task] if source == HUB else _count(task, source, describe_source(task, source)).examples


def _teacher_width() -> int:
    try:
        return find_model(st.session_state[key("teacher")] or "").hidden_size or WIDTH
    except ModelError:  # said where the settings are described
        return WIDTH


def draw_outlook(store: Store, data: DeltaGenerator) -> bool:
    """Say what the settings in the form mean: loss, data (into `data`), time; return whether they can be used."""
    try:
        if not st.session_state[key("teacher")]:
            raise ModelError("There is no teacher for this task here; type the folder of a fine-tuned classifier.")
        config = config_in_form()
    except DistillError as error:
        show_error(error)
        return False
    draw_loss(config)
    try:
        find_teacher(config)
        data.caption(escape_markdown(data_words(config)))
        will_do = devices_for(config.device)
        device = kind_of(will_do[0])
        expected = estimate_duration(store, config, device, _words(config))
    except DistillError as error:
        show_error(error)
        return False
    words = "No estimate" if expected.seconds is None else format_approximate_duration(expected.seconds).capitalize()
    basis = estimate_basis(expected, config, device)
    chosen = " Device chosen automatically." if config.device == "auto" else ""
    st.html(time_estimate(f"{words} on {device_title(device)}", basis + chosen + _waits(store, will_do)))
    return True


def data_words(config: RunConfig) -> str:
    """Say how many training examples there are, where from, and how often the run goes over them.

    Raises DataError when the source cannot be read. A source on the network is not asked.
    """
    where = describe_source(config.task, config.source)
    seen = config.steps * config.batch_size
    if config.source == HUB:
        return f"{where}: fetched when the run begins. {seen:,} examples will be seen."
    there, only, _ = _count(config.task, config.source, where)
    used = min(there, config.train_examples or there, seen)
    passes = seen / used
    words = f"{there:,} training examples: {where}. " + (f"{used:,} of them are used. " if used < there else "")
    words += f"There are no {config.train_examples:,}. " if (config.train_examples or 0) > there else ""
    words += f"The run goes over them {passes:.1f} times." if passes >= 1.05 else "Each is seen once."
    return words + (f" All of them are {only}: there is nothing to tell apart." if only else "")


class _Known(NamedTuple):
    """The training examples there are: how many, the one label all of them have or nothing, their mean words."""

    examples: int
    only: str
    words: float


@st.cache_data(max_entries=16, show_spinner="Counting the training examples …")
def _count(task: str, source: str, where: str) -> _Known:
    del where  # part of the key: what `auto` means may change
    examples = load_split(task, "train", source).examples
    first, labels = examples[0].label, {example.label for example in examples}
    only = get_task(task).label_name(first) if first is not None and len(labels) == 1 else ""
    words = sum(len(f"{example.text} {example.text_pair or ''}".split()) for example in examples)
    return _Known(len(examples), only, words / len(examples))


def _words(config: RunConfig) -> float | None:
    """Return the mean number of words of a training example, None for a source on the network."""
    if config.source == HUB:
        return None
    return _count(config.task, config.source, describe_source(config.task, config.source)).words


def _waits(store: Store, wanted: Sequence[str]) -> str:
    """Say how many runs would come first on the devices that will do."""
    before = sum(bool(run_devices(run) & set(wanted)) for run in store.runs(ACTIVE))
    return "" if not before else f" Waits for {'one run' if before == 1 else f'{before} runs'} before it."


def _teacher_layers() -> int | None:
    try:
        return find_model(st.session_state[key("teacher")] or "").layers or None
    except ModelError:  # said where the settings are described
        return None


def _unread(name: str) -> bool:
    return unread(name, st.session_state[key("method")])


def _numbers(*names: str) -> None:
    columns = st.columns(max(1, len(names)), gap="small", vertical_alignment="bottom")
    for name, column in zip(names, columns, strict=False):
        with column:
            _number(name)


def use_source(source: str) -> None:
    """Choose a source; call it before the form is drawn."""
    st.session_state[key("source")] = source


def _change_task() -> None:
    """Take the chosen task's first model as teacher, as the one before was for another, and data it may have."""
    task = st.session_state[key("task")]
    st.session_state[key("teacher")] = next((model.id for model in list_models() if model.task == task), None)
    st.session_state[key("source")] = source_for(task, st.session_state[key("source")] or FIRST_SOURCE)


def _choice(
    name: str, titles: dict[str, str], typed: bool = False, on_change: Callable[[], None] | None = None
) -> None:
    """Draw a list to choose from; where `typed`, a folder can be typed instead."""
    value = st.session_state[key(name)]
    if value not in titles:
        if typed and value:
            titles = titles | {value: Path(value).name}
        else:
            st.session_state[key(name)] = next(iter(titles), None)
    st.selectbox(
        FIELDS[name].label,
        list(titles),
        format_func=lambda option: titles.get(option, option),
        accept_new_options=typed,
        placeholder="Type a folder" if typed else None,
        disabled=_unread(name),
        help=escape_markdown(FIELDS[name].help),
        key=key(name),
        on_change=on_change,
        persist_state="session",
    )


def _number(name: str, maximum: int | None = None, disabled: bool = False) -> None:
    """Draw a number; its range stands in the help and is checked by the config.

    The browser must not check it: it would keep a wrong number in sight and hand on the one before.
    """
    spec = FIELDS[name]
    as_kind: Any = int if spec.kind == "int" else float
    highest = as_kind(spec.maximum if maximum is None else min(maximum, spec.maximum or maximum))
    unset: Any = None if spec.optional else "min"  # the value itself is in the session
    allowed = f" From {spec.minimum:,.10g} to {highest:,.10g}."
    st.number_input(
        spec.label,
        value=unset,
        step=as_kind(STEPS.get(name, 1e-5 if name == "learning_rate" else 1)),
        format=FORMATS.get(name),
        placeholder=EMPTY.get(name),
        disabled=disabled or _unread(name),
        help=escape_markdown(spec.help + allowed),
        key=key(name),
        persist_state="session",
    )
