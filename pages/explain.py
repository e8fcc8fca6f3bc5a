"""Explain: one sentence through a teacher and its students, their maps aligned, and how far they agree."""

import time
from dataclasses import replace

import streamlit as st

from pages.components.page_frame import begin_page, draw_footer, errors_shown, escape_markdown, loading, show_error

begin_page("Explain")
st.html('<h1 class="dl-unseen">Explain</h1>')
with loading("Loading PyTorch and the attribution methods …"):
    from distill_core.catalog.catalog import find_model
    from distill_core.data.datasets import list_splits
    from distill_core.devices import device_title
    from distill_core.errors import DataError, DistillError, TokensDifferError
    from distill_core.explanation.result import Explanation
    from distill_core.models.tokenization import visible_text
    from pages.components import resources
    from pages.components.data_sources import FIRST_SOURCE, HUB, source_for, split_title
    from pages.components.explain import compute, downloads, figure, score_bars
    from pages.components.explain.controls import draw_controls, model_names
    from pages.components.explain.session import (
        HUB_ALLOWED,
        current_address,
        drop_invalid_parameters,
        load_controls,
        show_view,
        write_address,
    )
    from pages.components.explain.view_state import (
        FIRST_SPLIT,
        View,
        first_view,
        source_in,
        split_in,
        task_in,
        to_address,
    )

BY_WORDS = "explain.by_words"  # set when words are shown although pieces were asked for
LISTED_WORDS = 8  # of the words a model cannot read


def main() -> None:
    """Draw the page: the controls, then the explanation they ask for."""
    try:
        task, (source, split) = task_in(current_address()), available_source()
        if source == HUB and not st.session_state.get(HUB_ALLOWED):
            ask_for_hub()
            return
        dataset = resources.examples(task, source, split)
        models = resources.task_models(task)
        load_controls(first_view(dataset, models, source, split), dataset)
        view = draw_controls(dataset, models, source, split)
    except DistillError as error:
        show_error(error)
        drop_button("Reset the invalid settings")
        return
    write_address(view)
    if not view.request.students:
        raise DataError("Choose one to three students to compare with the teacher.")
    began = time.perf_counter()
    try:
        explanation = compute.compute_explanation(view.request)
    except TokensDifferError:
        st.session_state[BY_WORDS] = True
        show_view(replace(view, request=replace(view.request, units="words")))
    seconds = time.perf_counter() - began
    if st.session_state.pop(BY_WORDS, False):
        st.info(
            "These models split the text into different tokens, so they are compared by words.",
            icon=":material/match_word:",
        )
    draw(explanation, view, view.label(dataset))
    where = f"Examples: {dataset.source}, {split_title(dataset.split).lower()}."
    draw_footer(f"{where if view.is_example(dataset) else 'A text you typed.'} {time_words(seconds)}")


def available_source() -> tuple[str, str]:
    """Return the source and split of the address; the first ones, with a warning, where they are not available.

    Only a link with a text falls back: without a text, a missing source is an error.
    """
    address = current_address()
    task, source, split = task_in(address), source_in(address), split_in(address)
    if "text" not in address:
        return source, split
    try:
        splits = list_splits(task, source) if source_for(task, source) == source else ()
    except DataError:
        splits = ()
    if split in (FIRST_SPLIT, *splits) and splits:
        return source, split
    missing = f"{split_title(split)} of {source}" if splits else f"The data set {source}"
    st.warning(escape_markdown(f"{missing[:200]} is not available here. The text of the link is explained anyway."))
    return (source if splits else FIRST_SOURCE), FIRST_SPLIT


def drop_button(words: str) -> None:
    """Draw the button that removes from the address what cannot be shown."""
    st.button(words, icon=":material/restart_alt:", on_click=drop_invalid_parameters)


def ask_for_hub() -> None:
    """Ask for consent before a link makes this machine download data."""
    st.caption("This link shows examples from GLUE on the Hugging Face hub, which must be downloaded first.")
    with st.container(horizontal=True):
        if st.button("Download", icon=":material/cloud_download:", type="primary", key="explain.fetch"):
            st.session_state[HUB_ALLOWED] = True
            st.rerun()
        drop_button("Use other examples")


def draw(explanation: Explanation, view: View, gold: str | None) -> None:
    """Draw predictions, maps and agreement, then the scores as bars, and the files."""
    names = model_names({model.id: find_model(model.id) for model in explanation.models})
    labels = [names[model.id] for model in explanation.models]
    if explanation.left_out:
        st.warning(left_out_words(explanation), icon=":material/content_cut:")
    for unread in dict.fromkeys(model.unread for model in explanation.models if model.unread):
        who = [label for label, model in zip(labels, explanation.models, strict=True) if model.unread == unread]
        st.caption(escape_markdown(unread_words(who, unread)))
    st.html(figure.predictions_html(explanation, labels, gold))
    several = len(figure.targets(explanation)) > 1
    for at, target in enumerate(figure.targets(explanation)):
        if several:
            st.subheader(f"For {escape_markdown(target)}")
        st.html(figure.maps_html(explanation, labels, gold, at))
        st.html(figure.agreement_html(explanation, labels, at))
    if several:
        st.subheader("Mean over the classes")
        st.html(figure.mean_agreement_html(explanation, labels))
    st.subheader("Scores as bars")
    for at, target in enumerate(figure.targets(explanation)):
        rows = figure.model_rows(explanation, labels, at)
        if several:
            st.markdown(f"For **{escape_markdown(target)}**")
        bars = score_bars.score_bars(explanation.tokens, explanation.shown, explanation.words, rows)
        st.plotly_chart(bars, config=score_bars.CONFIG, key=f"bars{at}", alt=f"Scores for {target}, as bars")
    download(explanation, labels, gold, view)


def time_words(seconds: float) -> str:
    """Say how long the maps took, and which runs train at the same time."""
    training = [f"{run.title} trains on {device_title(str(run.device))}" for run in resources.running_runs()]
    return f"Explained in {seconds:.2f} s{', while ' if training else ''}{' and '.join(training)}."


def left_out_words(explanation: Explanation) -> str:
    """Say how much was left out and where: of a pair, tokenizers shorten whichever text is longer, piece by piece."""
    what = f"{explanation.left_out} {'words' if explanation.request.units == 'words' else 'tokens'} were left out"
    if explanation.request.text_pair is None:
        return f"The text is longer than the models can read: its last {what}."
    return f"The two texts together are longer than the models can read: {what}, from the end of the longer text first."


def unread_words(models: list[str], words: tuple[str, ...]) -> str:
    """Say which words the models cannot read, and what that means for the scores."""
    named = ", ".join(f"“{visible_text(word)}”" for word in words[:LISTED_WORDS])
    named += f" and {len(words) - LISTED_WORDS} more" if len(words) > LISTED_WORDS else ""
    return (
        f"The vocabulary of {', '.join(models)} lacks parts of: {named}. The model reads each of these "
        "parts as the unknown token, [UNK], or skips it; a word it skips scores 0."
    )


def download(explanation: Explanation, labels: list[str], gold: str | None, view: View) -> None:
    """Draw the buttons that download the numbers and the figure."""
    files = (
        ("Scores", "csv", "text/csv", downloads.to_csv(explanation)),
        ("Numbers", "json", "application/json", downloads.to_json(explanation, to_address(view))),
        ("Figure", "html", "text/html", figure.document(explanation, labels, gold, to_address(view))),
    )
    with st.container(horizontal=True, gap="small"):
        for words, kind, mime, content in files:
            st.download_button(
                f"{words} ({kind.upper()})",
                content,
                f"{view.request.task}-{view.request.method}.{kind}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"download.{kind}",
            )


with errors_shown():
    main()
