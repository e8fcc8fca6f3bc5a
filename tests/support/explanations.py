"""Explain a text with open or lazy models, as tests have them: built from keywords, whatever the models' ids."""

from collections.abc import Callable, Sequence

from distill_core.explanation.cache import ExplanationCache
from distill_core.explanation.explain import explain
from distill_core.explanation.lazy_model import LazyModel
from distill_core.explanation.request import ExplanationRequest
from distill_core.explanation.result import Explanation
from distill_core.models.encoder import LoadedModel


def explain_with(
    task: str,
    text: str,
    text_pair: str | None = None,
    *,
    teacher: LoadedModel | LazyModel,
    students: Sequence[LoadedModel | LazyModel] = (),
    cache: ExplanationCache | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings: object,
) -> Explanation:
    """Explain with these models; they may share an id, so the request names them by number."""
    models = {str(number): model for number, model in enumerate((teacher, *students))}
    names = tuple(models)
    request = ExplanationRequest(
        task=task, text=text, text_pair=text_pair, teacher=names[0], students=names[1:], **settings
    )
    return explain(request, models.__getitem__, cache=cache, progress=progress)
