"""The form of a new run: labels, ranges and help texts from `run_config.FIELDS`, values in the session state."""

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
from pages.components.run.loss_formula import draw_loss_formula
from pages.components.run.markup import estimate_basis, time_estimate
from pages.components.run.setting_labels import BEGINNINGS, CHOICES, EMPTY, unread

COMMON_ROWS = (  # of "More settings": those of every method, and the warm-up of a method's terms
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
    """Return the settings in the form; ConfigError that names every invalid one.

    Reads the session state, so that a callback sees what was typed just before its button was pressed.
    """
    values = {name: st.session_state[key(name)] for name in FIELDS if key(name) in st.session_state}
    return RunConfig.from_values(values | {"name": (values.get("name") or "").strip()})


def draw_settings() -> None:
    """Draw the main settings: task, models, data, seed, and length of the training."""
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
    """Draw all other settings in an expander, without those that the chosen method does not read."""
    with st.expander("More settings", icon=":material/tune:"):
        devices = {"auto": f"Auto ({device_title(kind_of(usable_devices()[0]))})"}
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
    """Draw the choice of the method and the weights of its terms."""
    _choice("method", {name: info.title for name, info in DISTILLATION_METHODS.items()}, on_change=_change_method)
    _recipe()
    method = DISTILLATION_METHODS[st.session_state[key("method")]]
    st.caption(method.score_words if get_task(st.session_state[key("task")]).span else method.words)
    _numbers("alpha", "temperature")
    _numbers(*method.weights)
    if method.compared_weight is not None and method.compared_weight < 1:
        st.caption(
            f"The recommended method weight is {method.compared_weight:g}: at 1 the method’s terms can outweigh the "
            "labels and the teacher’s answers (measured on SST-2). The run’s page shows each term’s share of the "
            "gradient."
        )


def _recipe() -> None:
    """Draw the button that applies the published settings, if there are any, and the changes made since."""
    task, method = st.session_state[key("task")], st.session_state[key("method")]
    recipes = recipes_for(task, method)
    if not recipes:
        return
    recipe, changed = recipes[0], True
    if st.session_state.get(RECIPE) == recipe.name:
        changes = ""
        with contextlib.suppress(DistillError):  # draw_outlook shows what is wrong with the form
            config, width = config_in_form(), _teacher_width()
            changes = changes_in_words(recipe, config, _available_examples(), width)
            changed = bool(recipe.changes(config, _available_examples(), width))
        st.caption(escape_markdown(f"{recipe.source}. {changes}"))
    if changed:
        words = f"Use the published settings for {get_task(task).short_title}"
        icon, place = ":material/article:", "distill.use_recipe"
        st.button(words, icon=icon, type="tertiary", key=place, on_click=_use, args=(recipe,))


def _use(recipe: Recipe) -> None:
    """Put a recipe's settings into the form."""
    try:
        values = recipe.values(_available_examples(), _teacher_width())
    except DistillError:  # the data cannot be read, which draw_outlook shows
        return
    st.session_state[RECIPE] = recipe.name
    for setting, value in values.items():
        st.session_state[key(setting)] = value


def _available_examples() -> int:
    """Return the number of training examples in the chosen source; for the hub, which is not asked, GLUE's number."""
    task, source = st.session_state[key("task")], st.session_state[key("source")] or FIRST_SOURCE
    return GLUE_SIZES[task] if source == HUB else _count(task, source, describe_source(task, source)).examples


def _teacher_width() -> int:
    try:
        return find_model(st.session_state[key("teacher")] or "").hidden_size or WIDTH
    except ModelError:  # draw_outlook shows it
        return WIDTH


def draw_outlook(store: Store, data: DeltaGenerator) -> bool:
    """Draw the loss, the data (into `data`) and the expected time; return whether the settings are valid."""
    try:
        if not st.session_state[key("teacher")]:
            raise ModelError("No teacher for this task is available; type the folder of a fine-tuned classifier.")
        config = config_in_form()
    except DistillError as error:
        show_error(error)
        return False
    draw_loss_formula(config)
    try:
        find_teacher(config)
        data.caption(escape_markdown(data_words(config)))
        devices = devices_for(config.device)
        device = kind_of(devices[0])
        expected = estimate_duration(store, config, device, _mean_words(config))
    except DistillError as error:
        show_error(error)
        return False
    words = "No estimate" if expected.seconds is None else format_approximate_duration(expected.seconds).capitalize()
    basis = estimate_basis(expected, config, device)
    chosen = " Device chosen automatically." if config.device == "auto" else ""
    st.html(time_estimate(f"{words} on {device_title(device)}", basis + chosen + _queue_words(store, devices)))
    return True


def data_words(config: RunConfig) -> str:
    """Describe the training examples: their source, their number, and how often the run uses each.

    Raises DataError if the source cannot be read. The hub is not asked.
    """
    where = describe_source(config.task, config.source)
    needed = config.steps * config.batch_size
    if config.source == HUB:
        return f"{where}: downloaded when the run starts. The run uses {needed:,} examples."
    available, only_label, _ = _count(config.task, config.source, where)
    used = min(available, config.train_examples or available, needed)
    passes = needed / used
    words = f"{available:,} training examples: {where}. " + (f"The run uses {used:,}. " if used < available else "")
    words += f"Fewer than the {config.train_examples:,} requested. " if (config.train_examples or 0) > available else ""
    words += f"Each is used {passes:.1f} times on average." if passes >= 1.05 else "Each is used once."
    return words + (f" All of them have the label {only_label}, so there is nothing to learn." if only_label else "")


class _Counted(NamedTuple):
    """Counts of the training examples. `only_label`: the label that all have, empty if they differ."""

    examples: int
    only_label: str
    mean_words: float


@st.cache_data(max_entries=16, show_spinner="Counting the training examples …")
def _count(task: str, source: str, where: str) -> _Counted:
    del where  # part of the cache key, because the source that `auto` means can change
    examples = load_split(task, "train", source).examples
    first, labels = examples[0].label, {example.label for example in examples}
    only_label = get_task(task).label_name(first) if first is not None and len(labels) == 1 else ""
    words = sum(len(f"{example.text} {example.text_pair or ''}".split()) for example in examples)
    return _Counted(len(examples), only_label, words / len(examples))


def _mean_words(config: RunConfig) -> float | None:
    """Return the mean number of words of a training example, None for a source on the network."""
    if config.source == HUB:
        return None
    return _count(config.task, config.source, describe_source(config.task, config.source)).mean_words


def _queue_words(store: Store, devices: Sequence[str]) -> str:
    """Return how many runs would come first on these devices, as the end of a paragraph; empty for none."""
    before = sum(bool(run_devices(run) & set(devices)) for run in store.runs(ACTIVE))
    return "" if not before else f" Starts after {'one other run' if before == 1 else f'{before} other runs'}."


def _teacher_layers() -> int | None:
    try:
        return find_model(st.session_state[key("teacher")] or "").layers or None
    except ModelError:  # draw_outlook shows it
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
    """Choose the task's first model as teacher and a data source that has the task."""
    task = st.session_state[key("task")]
    st.session_state[key("teacher")] = next((model.id for model in list_models() if model.task == task), None)
    st.session_state[key("source")] = source_for(task, st.session_state[key("source")] or FIRST_SOURCE)


def _change_method() -> None:
    """Use the recommended weight of the method that was picked; settings filled in from a run keep theirs."""
    recommended = DISTILLATION_METHODS[st.session_state[key("method")]].compared_weight
    st.session_state[key("method_weight")] = FIELDS["method_weight"].default if recommended is None else recommended


def _choice(
    name: str, titles: dict[str, str], typed: bool = False, on_change: Callable[[], None] | None = None
) -> None:
    """Draw a select box; if `typed`, a folder can be typed instead."""
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
    """Draw a number input; its range is in the help text and is checked by the config.

    The browser must not check it: it would show an invalid number and submit the previous one.
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
