"""Explain: one sentence through a teacher and its students, their maps aligned, and how far they agree."""

import time
from dataclasses import replace

import streamlit as st

from pages.components.page_frame import begin_page, draw_footer, errors_shown, escape_markdown, loading, show_error

begin_page("Explain")
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
    from pages.components.explain.controls import (
        HUB_ALLOWED,
        asked,
        controls,
        forget,
        go_to,
        model_names,
        publish,
        settle,
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

BY_WORDS = "explain.by_words"  # set when words were shown though pieces were asked
NAMED = 8  # words listed of those a model cannot read


def main() -> None:
    """Draw the page: controls, then what they ask for."""
    try:
        task, (source, split) = task_in(asked()), known_source()
        if source == HUB and not st.session_state.get(HUB_ALLOWED):
            ask_for_hub()
            return
        dataset = resources.examples(task, source, split)
        models = resources.task_models(task)
        settle(first_view(dataset, models, source, split), dataset)
        view = controls(dataset, models, source, split)
    except DistillError as error:
        show_error(error)
        defaults_button()
        return
    publish(view)
    if not view.students:
        raise DataError("Choose one to three students to lay beside the teacher.")
    began = time.perf_counter()
    try:
        explanation = compute.explained(view)
    except TokensDifferError:
        st.session_state[BY_WORDS] = True
        go_to(replace(view, units="words"))
    took = time.perf_counter() - began
    if st.session_state.pop(BY_WORDS, False):
        st.info(
            "The models cut this text into different tokens, which cannot be laid side by side: shown by words.",
            icon=":material/match_word:",
        )
    draw(explanation, view, view.gold(dataset))
    where = f"Examples: {dataset.source}, {split_title(dataset.split).lower()}."
    draw_footer(f"{where if view.picked(dataset) else 'A sentence of your own.'} {pace_words(took)}")


def known_source() -> tuple[str, str]:
    """Return source and split asked for; the first, with a word, where one is not here but the text is in the link."""
    task, source, split = task_in(asked()), source_in(asked()), split_in(asked())
    if "text" not in asked():
        return source, split
    try:
        splits = list_splits(task, source) if source_for(task, source) == source else ()
    except DataError:
        splits = ()
    if split in (FIRST_SPLIT, *splits) and splits:
        return source, split
    missing = f"{split_title(split)} of {source}" if splits else f"The data set {source}"
    st.warning(escape_markdown(f"{missing[:200]} is not here (any more); the text is shown all the same."))
    return (source if splits else FIRST_SOURCE), FIRST_SPLIT


def defaults_button() -> None:
    """Draw the way out of an address that cannot be shown."""
    st.button("Open with the defaults", icon=":material/restart_alt:", on_click=forget)


def ask_for_hub() -> None:
    """Ask before a link makes this machine fetch from the network."""
    st.caption("This link shows sentences of GLUE from the Hugging Face hub. They would be fetched from the network.")
    with st.container(horizontal=True):
        if st.button("Fetch them", icon=":material/cloud_download:", type="primary", key="explain.fetch"):
            st.session_state[HUB_ALLOWED] = True
            st.rerun()
        defaults_button()


def draw(explanation: Explanation, view: View, gold: str | None) -> None:
    """Draw predictions, maps and agreement, then the same as bars and files."""
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
    st.subheader("The same scores as bars")
    for at, target in enumerate(figure.targets(explanation)):
        rows = figure.model_rows(explanation, labels, at)
        if several:
            st.markdown(f"For **{escape_markdown(target)}**")
        bars = score_bars.score_bars(explanation.tokens, explanation.shown, explanation.words, rows)
        st.plotly_chart(bars, config=score_bars.CONFIG, key=f"bars{at}", alt=f"Scores for {target}, as bars")
    download(explanation, labels, gold, view)


def pace_words(seconds: float) -> str:
    """Say how long the maps took, and what else the machine does."""
    training = [f"{run.title} trains on {device_title(str(run.device))}" for run in resources.running_runs()]
    return f"Explained in {seconds:.2f} s{', while ' if training else ''}{' and '.join(training)}."


def left_out_words(explanation: Explanation) -> str:
    """Say how much was left out and where: of a pair, tokenizers shorten whichever text is longer, piece by piece."""
    what = f"{explanation.left_out} {'words' if explanation.units == 'words' else 'tokens'} were left out"
    if explanation.text_pair is None:
        return f"The text is longer than the models can read: its last {what}."
    return f"The two texts together are longer than the models can read: {what}, from the end of the longer text first."


def unread_words(models: list[str], words: tuple[str, ...]) -> str:
    """Say which words models cannot read, and what that means."""
    named = ", ".join(f"“{visible_text(word)}”" for word in words[:NAMED])
    named += f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return (
        f"The vocabulary of {', '.join(models)} lacks pieces of: {named}. In their place stands an unknown token, "
        "[UNK], alike for all, or nothing, and then the word scores 0."
    )


def download(explanation: Explanation, labels: list[str], gold: str | None, view: View) -> None:
    """Offer the numbers and the figure as files."""
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
                f"{view.task}-{view.method}.{kind}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"download.{kind}",
            )


with errors_shown():
    main()
