"""Models: which there are, what is known of each, and how to bring another."""

from dataclasses import dataclass, replace

import streamlit as st

from pages.components.page_frame import begin_page, draw_footer, errors_shown, loading

begin_page("Models")
with loading("Loading the models …"):
    from distill_core.catalog.catalog import ModelInfo, find_model, list_models
    from distill_core.data.tasks import TASKS
    from distill_core.paths import ASSETS
    from distill_core.settings import model_memory_bytes, read_settings, write_settings
    from pages.components.models.add_model import draw_add_model
    from pages.components.models.detail import draw_model
    from pages.components.models.markup import model_facts
st.html(ASSETS / "models.css")

ALL = "all"
KINDS = {"bundled": "Bundled", "run": "Distilled here", "hub": "Hub", "folder": "Folders", "converted": "Converted"}


@dataclass(frozen=True)
class Filter:
    """Which models are listed: of one task or ALL, of one kind or ALL, with this in their name."""

    task: str
    kind: str
    search: str

    def lets(self, info: ModelInfo) -> bool:
        """Tell whether a model is listed."""
        named = f"{info.id} {info.title} {info.description}".casefold()
        return self.task in (ALL, info.task) and self.kind in (ALL, info.kind) and self.search.casefold() in named


def chosen_filter(models: list[ModelInfo]) -> Filter:
    """Draw the filters over the list."""
    tasks = [name for name in TASKS if any(model.task == name for model in models)]
    kinds = [name for name in KINDS if any(model.kind == name for model in models)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input("Containing", key="models.search", type="search", width=220, persist_state="session")
        task = st.selectbox(
            "Task",
            [ALL, *tasks],
            format_func=lambda name: "All tasks" if name == ALL else TASKS[name].short_title,
            width=150,
            key="models.of_task",
            persist_state="session",
        )
        kind = st.selectbox(
            "From",
            [ALL, *kinds],
            format_func=lambda name: KINDS.get(name, "Anywhere"),
            width=170,
            key="models.kind",
            persist_state="session",
        )
    return Filter(task, kind, search.strip())


def table(models: list[ModelInfo]) -> None:
    """Draw the models as a table; the one that is picked stands in the page's address."""
    rows = [{"Model": info.title, "Id": info.id, **model_facts(info)} for info in models]
    st.dataframe(
        {name: [row[name] for row in rows] for name in rows[0]},
        hide_index=True,
        height=min(38 + 35 * len(rows), 420),
        key="models.table",
        on_select=lambda: pick(models),
        selection_mode="single-row",
    )


def pick(models: list[ModelInfo]) -> None:
    """Put the ticked model into the page's address, or take it out."""
    chosen = st.session_state["models.table"].selection.rows
    if chosen and chosen[0] < len(models):
        st.query_params["model"] = models[chosen[0]].id
    else:
        st.query_params.pop("model", None)


def memory() -> None:
    """Draw the setting of how much memory open models may take."""
    with st.expander("Memory for open models", icon=":material/memory:"):
        settings = read_settings()
        usual = (
            f"{model_memory_bytes() // 1_000_000:,}"
            if settings.model_memory_mb is None
            else "A quarter of the machine’s"
        )
        chosen = st.number_input(
            "At most, in MB",
            min_value=1,
            value=settings.model_memory_mb,
            step=500,
            placeholder=usual,
            width=260,
            help="When it would be passed, the model not used for longest is closed; opening it again takes a moment. "
            "Empty for a quarter of the machine’s memory.",
        )
        if chosen != settings.model_memory_mb:
            write_settings(replace(settings, model_memory_mb=chosen))


def main() -> None:
    """Draw the list, the model that is picked, and the form of a new one."""
    st.header("Models")
    models = list_models()
    listed = list(filter(chosen_filter(models).lets, models))
    if listed:
        table(listed)
        st.caption(f"{len(listed)} of {len(models)} models. Tick a row to see more of one.")
    else:
        st.caption("No model passes these filters.")
    with errors_shown():
        if "model" in st.query_params:
            draw_model(find_model(st.query_params["model"]))
    draw_add_model()
    memory()
    draw_footer("A model is safetensors, a config and a tokenizer; code that comes with a model is never run.")


with errors_shown():
    main()
