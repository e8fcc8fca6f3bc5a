"""One model: its facts, and the buttons to explain, distill from and remove it."""

import streamlit as st

from distill_core.catalog.catalog import ModelInfo, bundled_models
from distill_core.data.tasks import TASKS
from distill_core.errors import DistillError
from pages.components.formatting import format_size
from pages.components.models.markup import model_card_html
from pages.components.page_frame import escape_markdown, page_link, show_error
from pages.components.run.form import key

USER_KINDS = ("hub", "folder", "converted")  # what a user added, and may remove here


def draw_model(info: ModelInfo) -> None:
    """Draw a model with its actions: explain, distill from it, remove it where the user added it."""
    with st.container(border=True, key="model"):
        st.html(model_card_html(info))
        with st.container(horizontal=True, vertical_alignment="center"):
            if info.task in TASKS:
                page_link(
                    "pages/explain.py", "Explain with this model", ":material/visibility:", **explain_address(info)
                )
                if st.button("Distill from this model", icon=":material/experiment:", key="models.distill"):
                    st.session_state[key("task")], st.session_state[key("teacher")] = info.task, info.id
                    st.switch_page("pages/distill.py")
            if info.kind in USER_KINDS:
                _draw_remove(info)


def explain_address(info: ModelInfo) -> dict[str, str | list[str]]:
    """Return the explain page's address: a task's first model beside its students, any other beside that first."""
    bundled = [f"bundled/{model.name}" for model in bundled_models().values() if model.task == info.task]
    if not bundled or info.id == bundled[0]:
        return {"task": info.task, "teacher": info.id}
    return {"task": info.task, "teacher": bundled[0], "student": [info.id]}


def _draw_remove(info: ModelInfo) -> None:
    with st.popover("Remove", icon=":material/delete:"):
        if info.kind == "folder":
            st.markdown("Remove it from this list? The folder is not changed.")
        else:
            st.markdown(f"Remove it and delete the app’s copy ({format_size(info.size)})? The original is not changed.")
        st.button("Remove", type="primary", key="models.remove", on_click=_remove, args=(info,))


def _remove(info: ModelInfo) -> None:
    from distill_core.catalog.user_models import remove_user_model

    try:
        remove_user_model(info.id)
        st.query_params.pop("model", None)
        st.toast(escape_markdown(f"{info.title} was removed."), icon=":material/delete:")
    except DistillError as error:
        show_error(error)
