"""Home: what the app does, one explained sentence, the runs that are training, and links to the other pages."""

import streamlit as st

from pages.components.page_frame import begin_page, draw_footer, errors_shown, escape_markdown, loading, page_link

begin_page("Home")
with loading("Loading PyTorch and the models …"):
    from distill_core.runs import scheduler
    from pages.components import resources
    from pages.components.explain import compute, figure
    from pages.components.explain.controls import model_names
    from pages.components.explain.view_state import FIRST_TASK, first_view, to_address
    from pages.components.run.markup import display_name


def draw_example() -> None:
    """Draw the explanation of the first example; it is computed once and then read from the cache."""
    dataset, models = resources.examples(FIRST_TASK), resources.task_models(FIRST_TASK)
    view = first_view(dataset, models)
    explanation = compute.compute_explanation(view.request)
    names = model_names(models)
    labels = [names[model.id] for model in explanation.models]
    with st.container(key="example", border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.subheader(escape_markdown(view.request.text), anchor=False, width="content")
            page_link("pages/explain.py", "Open in Explain", ":material/arrow_forward:", **to_address(view))
        st.html(figure.predictions_html(explanation, labels, view.label(dataset)))
        st.html(figure.maps_html(explanation, labels, view.label(dataset), 0))
        st.html(figure.agreement_html(explanation, labels, 0))
    draw_footer(f"Sentences: {dataset.source}.")


@st.fragment(run_every=3)
def draw_active_runs() -> None:
    """List the active runs."""
    st.subheader("Training now", anchor=False)
    with errors_shown():
        store = resources.run_store()
        scheduler.reconcile(store)  # so that a run whose worker died is not shown as training
        active = store.runs(("queued", "running"), limit=5)
        for run in active:
            done = min(run.step / max(run.config.steps, 1), 1.0)
            name = escape_markdown(display_name(run))  # alone: escaping ends its writing direction with it
            st.progress(done, f"{name}: {run.status}, step {run.step:,} of {run.config.steps:,}")
            page_link("pages/distill.py", "Watch", ":material/monitoring:", run=run.id)
        if not active:
            st.caption(
                "Nothing is training. A short run takes a few minutes on a laptop "
                "and continues when you close this page."
            )


def draw_links() -> None:
    """Draw links to the other pages."""
    st.subheader("Next steps", anchor=False)
    page_link("pages/explain.py", "Explain your own sentence", ":material/search_insights:")
    page_link("pages/distill.py", "Distill a new student and watch it learn", ":material/experiment:")
    page_link("pages/runs.py", "Compare runs", ":material/table_rows:")
    page_link("pages/models.py", "Browse models, or add your own", ":material/deployed_code:")


with st.container(key="lead"):
    st.title("Does the student see what the teacher sees?", anchor=False)
    st.markdown(
        "A distilled model can give the same answers as its teacher for different reasons. Distillation Lens shows the "
        "token attributions of teacher and students side by side and measures how closely they agree. It also trains "
        "new students while you watch, with plain knowledge distillation or with methods that match the teacher’s "
        "attributions as well: AD-KD, GKD and explanation-guided KD."
    )
with errors_shown():
    draw_example()
left, right = st.columns(2, gap="large")
with left:
    draw_active_runs()
with right:
    draw_links()
