"""A model that is opened only when needed; its results are cached under its fingerprint."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distill_core.errors import ModelError
from distill_core.explanation.cache import ExplanationCache, folder_fingerprint
from distill_core.models.encoder import LoadedModel


@dataclass(frozen=True)
class LazyModel:
    """A model's id and fingerprint, and how to load its weights."""

    id: str
    fingerprint: str
    load: Callable[[], LoadedModel]

    def open(self) -> LoadedModel:
        """Load the model; ModelError if its fingerprint is no longer this one.

        Without the check, its results would be cached, and later shown, as another model's.
        """
        model = self.load()
        if model.fingerprint != self.fingerprint:
            raise ModelError(f"Model {self.id} has changed on disk since it was looked up; try again.")
        return model


def as_lazy_model(model: LoadedModel | LazyModel) -> LazyModel:
    """Wrap an open model; return a lazy one unchanged."""
    return model if isinstance(model, LazyModel) else LazyModel(model.id, model.fingerprint, lambda: model)


def lazy_model_in(
    path: Path, model_id: str, open_model: Callable[[], LoadedModel], cache: ExplanationCache | None = None
) -> LazyModel:
    """Return the model in a folder without loading it; its weights are hashed once and the digest cached."""
    return LazyModel(model_id, folder_fingerprint(path, cache or ExplanationCache()), open_model)
