"""A model that need not be open: known by its fingerprint, opened only when something is not in the cache."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelError
from distill_core.explanation.cache import ExplanationCache, folder_fingerprint
from distill_core.models.encoder import LoadedModel


@dataclass(frozen=True)
class ModelSource:
    """What is known of a model without its weights, and how to load it."""

    id: str
    fingerprint: str
    load: Callable[[], LoadedModel]

    def open(self) -> LoadedModel:
        """Load the model; ModelError if it is no longer the one of this fingerprint.

        Without the check, its numbers would be kept, and later shown, as another model's.
        """
        model = self.load()
        if model.fingerprint != self.fingerprint:
            raise ModelError(f"Model {self.id} has changed on disk since it was looked up; load the page again.")
        return model


def source_of(model: LoadedModel | ModelSource) -> ModelSource:
    """Return an open model as a source; a source is handed through."""
    return model if isinstance(model, ModelSource) else ModelSource(model.id, model.fingerprint, lambda: model)


def source_in(
    model_id: str, path: Path, open_model: Callable[[], LoadedModel], cache: ExplanationCache | None = None
) -> ModelSource:
    """Return the model in a folder as a source."""
    return ModelSource(model_id, folder_fingerprint(path, cache or ExplanationCache()), open_model)
