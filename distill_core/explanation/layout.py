"""The columns of an explanation's maps: the tokens that all models share, or the words as written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distill_core.attribution.reduce import sum_words
from distill_core.errors import DataError, TokensDifferError
from distill_core.explanation.model_reader import ModelReader, Reading
from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import ModelExplanation
from distill_core.models.tokenization import visible_text, written_words


@dataclass(frozen=True)
class Layout:
    """The columns of all maps; fields as in Explanation."""

    tokens: tuple[str, ...]
    shown: tuple[str, ...]
    words: tuple[int | None, ...]
    segments: tuple[int | None, ...]
    special: tuple[bool, ...]
    left_out: int


def layout_by_pieces(readers: Sequence[ModelReader], readings: Sequence[Reading]) -> Layout:
    """Return the tokens of all models; TokensDifferError unless they are the same."""
    first = readings[0].encoded
    for reader, reading in zip(readers, readings, strict=True):
        if reading.encoded.tokens != first.tokens:
            raise TokensDifferError(
                f"{readers[0].id} and {reader.id} split the text into different tokens, so their maps "
                "cannot be compared by pieces; compare them by words (units: words)."
            )
    return Layout(first.tokens, first.shown, first.words, first.segments, first.special, first.left_out)


def layout_by_words(request: ExplanationRequest, readings: Sequence[Reading]) -> Layout:
    """Return the words that at least one model has a piece of and that no model reads only in part.

    Raises DataError where there is none.
    """
    written = written_words(request.text, request.text_pair)
    first_text_words = len(written_words(request.text))
    cut = {word for reading in readings for word in reading.encoded.cut}
    whole = {word for reading in readings for word in reading.encoded.words} - cut
    words = [word for word in range(len(written)) if word in whole]
    if not words:
        raise DataError(
            "The first word is longer than the models can read, so no word is read in full by all of them; shorten it, "
            "raise max_length if you set it, or explain by pieces."
        )
    tokens = tuple(written[word] for word in words)
    return Layout(
        tokens=tokens,
        shown=tuple(map(visible_text, tokens)),
        words=tuple(words),
        segments=tuple(int(word >= first_text_words) for word in words),
        special=(False,) * len(words),
        left_out=len(cut),
    )


def sum_to_words(model: ModelExplanation, reading: Reading, words: Sequence[int | None]) -> ModelExplanation:
    """Return a model's explanation with its maps over words, each word the sum of its pieces."""
    maps = (replace(map_, scores=sum_words(map_.scores, reading.encoded.words, words)) for map_ in model.attributions)
    return replace(model, attributions=tuple(maps))
