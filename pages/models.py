"""Models: a table of all models, the details of the selected one, and a form to add another."""

from dataclasses import replace

import streamlit as st

from pages.components.page_frame import begin_page, draw_footer, draw_scroll_hint, errors_shown, loading

begin_page("Models")
with loading("Loading the models …"):
    from distill_core.catalog.catalog import ModelInfo, filter_models, find_model, list_models
    from distill_core.data.tasks import TASKS
    from distill_core.paths import ASSETS
    from distill_core.settings import model_memory_bytes, read_settings, write_settings
    from pages.components.models.add_model import draw_add_model
    from pages.components.models.detail import draw_model
    from pages.components.models.markup import model_facts
st.html(ASSETS / "models.css")

ALL = "all"
TABLE_HEIGHT = 440  # pixels: half a row at the lower edge shows that there are more
ID_WIDTH, SOURCE_WIDTH = 190, 150  # pixels: a longer id or origin is cut; the details have all of it
KINDS = {"bundled": "Bundled", "run": "Distilled here", "hub": "Hub", "folder": "Folders", "converted": "Converted"}


def draw_filter(models: list[ModelInfo]) -> list[ModelInfo]:
    """Draw the filters of the table and return the models that match."""
    tasks = [name for name in TASKS if any(model.task == name for model in models)]
    kinds = [name for name in KINDS if any(model.kind == name for model in models)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input("Search", key="models.search", type="search", width=220, persist_state="session")
        task = st.selectbox(
            "Task",
            [ALL, *tasks],
            format_func=lambda name: "All tasks" if name == ALL else TASKS[name].short_title,
            width=150,
            key="models.of_task",
            persist_state="session",
        )
        kind = st.selectbox(
            "Source",
            [ALL, *kinds],
            format_func=lambda name: KINDS.get(name, "All sources"),
            width=170,
            key="models.kind",
            persist_state="session",
        )
    return filter_models(models, search.strip(), None if task == ALL else task, None if kind == ALL else kind)


def draw_table(models: list[ModelInfo]) -> None:
    """Draw the models as a table; the id of the selected one is in the page's address."""
    rows = [{"Model": info.title, "Id": info.id, **model_facts(info)} for info in models]
    draw_scroll_hint()
    st.dataframe(
        {name: [row[name] for row in rows] for name in rows[0]},
        hide_index=True,
        height=min(38 + 35 * len(rows), TABLE_HEIGHT),
        column_config={
            "Id": st.column_config.TextColumn(width=ID_WIDTH),
            "Source": st.column_config.TextColumn(width=SOURCE_WIDTH),
        },
        key="models.table",
        on_select=lambda: select_model(models),
        selection_mode="single-row",
    )


def select_model(models: list[ModelInfo]) -> None:
    """Put the selected model into the page's address, or remove it from there."""
    chosen = st.session_state["models.table"].selection.rows
    if chosen and chosen[0] < len(models):
        st.query_params["model"] = models[chosen[0]].id
    else:
        st.query_params.pop("model", None)


def draw_memory_limit() -> None:
    """Draw the setting that limits the memory of open models."""
    with st.expander("Memory for open models", icon=":material/memory:"):
        settings = read_settings()
        usual = (
            f"{model_memory_bytes() // 1_000_000:,}"
            if settings.model_memory_mb is None
            else "A quarter of the machine’s"
        )
        chosen = st.number_input(
            "Limit in MB",
            min_value=1,
            value=settings.model_memory_mb,
            step=500,
            placeholder=usual,
            width=260,
            help="The models unused for longest are closed to stay below this limit; opening one again takes a moment. "
            "Leave empty for a quarter of the machine’s memory.",
        )
        if chosen != settings.model_memory_mb:
            write_settings(replace(settings, model_memory_mb=chosen))


def main() -> None:
    """Draw the table, the selected model, and the form to add one."""
    st.header("Models")
    models = list_models()
    listed = draw_filter(models)
    if listed:
        draw_table(listed)
        st.caption(f"{len(listed)} of {len(models)} models. Select a row for details.")
    else:
        st.caption("No models match.")
    with errors_shown():
        if "model" in st.query_params:
            draw_model(find_model(st.query_params["model"]))
    draw_add_model()
    draw_memory_limit()
    draw_footer("A model is safetensors weights, a config and a tokenizer. Code that comes with a model is never run.")


with errors_shown():
    main()
