"""Home: what this is, one sentence already explained, what is training now, where to go."""

import streamlit as st

from pages.components.page_frame import begin_page, draw_footer, errors_shown, escape_markdown, loading, page_link

begin_page("Home")
with loading("Loading PyTorch and the models …"):
    from distill_core.runs import scheduler
    from pages.components import resources
    from pages.components.explain import compute, figure
    from pages.components.explain.controls import model_names
    from pages.components.explain.view_state import FIRST_TASK, first_view, to_address


def example() -> None:
    """Explain the first sentence a newcomer sees, for real; the second time from the cache."""
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
def training() -> None:
    """List the runs that wait or work."""
    st.subheader("Training now", anchor=False)
    with errors_shown():
        store = resources.run_store()
        scheduler.reconcile(store)  # the dead are not shown as training
        active = store.runs(("queued", "running"), limit=5)
        for run in active:
            done = min(run.step / max(run.config.steps, 1), 1.0)
            st.progress(done, f"{escape_markdown(run.title)}: {run.status}, step {run.step} of {run.config.steps}")
            page_link("pages/distill.py", "Watch", ":material/monitoring:", run=run.id)
        if not active:
            st.caption("Nothing is training. A short run takes minutes on a laptop, and goes on if you close the page.")


def ways() -> None:
    """Say where to go from here."""
    st.subheader("Where to go", anchor=False)
    page_link("pages/explain.py", "Explain a sentence of your own", ":material/search_insights:")
    page_link("pages/distill.py", "Distill a new student and watch it learn", ":material/experiment:")
    page_link("pages/runs.py", "Lay runs side by side", ":material/table_rows:")
    page_link("pages/models.py", "See the models there are, or bring your own", ":material/deployed_code:")


with st.container(key="lead"):
    st.title("Does the student see what the teacher sees?", anchor=False)
    st.markdown(
        "A distilled model can give its teacher’s answers for reasons of its own. "
        "Distillation Lens lays the token attributions of teacher and students side by side and says in numbers how "
        "far they agree. It also trains new students while you watch, by plain knowledge distillation or by methods "
        "that teach the student the teacher’s reasons too: AD-KD, GKD, explanation-guided KD."
    )
with errors_shown():
    example()
left, right = st.columns(2, gap="large")
with left:
    training()
with right:
    ways()
