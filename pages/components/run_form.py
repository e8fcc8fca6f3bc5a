"""The form of a new run: labels, ranges and help from `config.FIELDS`, values in the visitor's session."""

from pathlib import Path
from typing import Any

import streamlit as st

from distill_core.catalogue import ModelInfo, find_model, list_models
from distill_core.config import FIELDS, METHODS, RunConfig
from distill_core.data import describe_source, load_split
from distill_core.devices import usable_devices
from distill_core.tasks import TASKS
from pages.components.frame import plain

SOURCES = {
    "auto": "Best at hand",
    "bundled": "Bundled sample",
    "hub": "GLUE from the hub",
}
STEPS = {"steps": 50, "train_examples": 100, "batch_size": 8, "alpha": 0.1, "temperature": 0.5}
FORMATS = {"learning_rate": "%.1e", "alpha": "%.2f", "temperature": "%.1f", "attribution_weight": "%.2f"}


def key(name: str) -> str:
    """Return the session key of a setting."""
    return f"distill.{name}"


def fill(config: RunConfig) -> None:
    """Put a run's settings into the form; call it before the form is drawn."""
    for name in FIELDS:
        st.session_state[key(name)] = getattr(config, name)


def config_in_form() -> RunConfig:
    """Return what the form holds now; ConfigError naming the first setting that cannot be used.

    Reads the session, so that a callback sees what was typed just before its button was pressed.
    """
    given = {name: st.session_state[key(name)] for name in FIELDS if key(name) in st.session_state}
    return RunConfig.from_values(given | {"name": (given.get("name") or "").strip()})


def draw_settings() -> None:
    """Draw all settings but the name; the rarer ones folded away."""
    for name, spec in FIELDS.items():
        st.session_state.setdefault(key(name), spec.default)
    models = {model.id: model for model in list_models() if model.task == st.session_state[key("task")]}
    _row("task", "teacher", "student_layers", widths=(1.5, 1.5, 1), models=models)
    _row("source", "train_examples", "seed", widths=(1.5, 1.5, 1), models=models)
    _row("steps", "batch_size", "learning_rate", models=models)
    _row("method", "alpha", "temperature", "attribution_weight", widths=(1.25, 1, 1, 1), models=models)
    with st.expander("More settings", icon=":material/tune:"):
        _row("device", "evaluate_every", "top_k", "max_length", models=models)


def draw_name() -> None:
    """Draw the field for the run's name."""
    spec = FIELDS["name"]
    st.text_input(
        spec.label, max_chars=int(spec.maximum or 0), placeholder="Optional", key=key("name"), persist_state="session"
    )


def data_words(config: RunConfig) -> str:
    """Say how many training examples there are, where from, and how often the run goes over them.

    Raises DataError when the source cannot be read. A source on the network is not asked.
    """
    where = describe_source(config.task, config.source)
    seen = config.steps * config.batch_size
    if config.source == "hub":
        return f"{where}: fetched when the run begins. {seen:,} examples will be seen."
    there = _count(config.task, config.source, where)
    used = min(there, config.train_examples or there, seen)
    passes = seen / used
    words = f"{there:,} training examples: {where}. " + (f"{used:,} of them are used. " if used < there else "")
    return words + f"The run goes over them {passes:.1f} times." if passes >= 1.05 else words + "Each is seen once."


def check_teacher(config: RunConfig) -> ModelInfo:
    """Return the teacher; ModelError naming the valid ones where there is none of this id."""
    return find_model(config.teacher)


@st.cache_data(max_entries=16, show_spinner="Counting the training examples …")
def _count(task: str, source: str, where: str) -> int:
    del where  # part of the key: what `auto` means may change
    return len(load_split(task, "train", source).examples)


def _row(*names: str, models: dict[str, ModelInfo], widths: tuple[float, ...] = ()) -> None:
    columns = st.columns(widths or len(names), gap="small", vertical_alignment="bottom")
    for name, column in zip(names, columns, strict=True):
        with column:
            _field(name, models)


def _field(name: str, models: dict[str, ModelInfo]) -> None:
    spec = FIELDS[name]
    if name == "method":
        st.segmented_control(
            spec.label, list(METHODS), format_func=METHODS.get, required=True, width="stretch", **_keyed(name)
        )
    elif name == "task":
        _choice(name, {task.name: task.title for task in TASKS.values()})
    elif name == "teacher":
        _choice(name, {model.id: model.title for model in models.values()}, typed=True)
    elif name == "source":
        _choice(name, SOURCES, typed=True)
    elif name == "device":
        _choice(name, {"auto": f"Automatic ({usable_devices()[0]})"} | {name: name for name in usable_devices()})
    elif spec.kind in ("int", "float"):
        teacher = models.get(st.session_state[key("teacher")])
        _number(name, teacher.layers if name == "student_layers" and teacher is not None else None)
    else:
        raise ValueError(f"no field for {name}")


def _choice(name: str, titles: dict[str, str], typed: bool = False) -> None:
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
        **_keyed(name),
    )


def _number(name: str, maximum: int | None) -> None:
    spec = FIELDS[name]
    as_kind: Any = int if spec.kind == "int" else float
    highest = as_kind(spec.maximum if maximum is None else min(maximum, spec.maximum or maximum))
    value = st.session_state[key(name)]
    if value is not None and value > highest:
        st.session_state[key(name)] = highest
    st.number_input(
        spec.label,
        min_value=as_kind(spec.minimum),
        max_value=highest,
        value=None if spec.optional else "min",
        step=as_kind(STEPS.get(name, 1e-5 if name == "learning_rate" else 1)),
        format=FORMATS.get(name),
        placeholder="All" if spec.optional else None,
        disabled=name in ("attribution_weight", "top_k") and st.session_state[key("method")] == "kd",
        **_keyed(name),
    )


def _keyed(name: str) -> dict[str, Any]:
    return {"key": key(name), "help": plain(FIELDS[name].help), "persist_state": "session"}
