"""The exceptions this library raises on purpose; each message names the value, what was wanted and what to do.

DistillError
├── ConfigError              a setting, task, method or class name that cannot be used
├── DataError                examples that are missing, damaged or empty
├── ModelError               a model that is unknown, damaged or does not fit
│   ├── NeedsConversion      its weights are a pickle: converted only with the user's consent
│   ├── NeedsReordering      its classes are in another order: reordered only with the user's consent
│   └── TokensDifferError    models whose maps can be compared by words, not by tokens
├── AttributionError         a map that cannot be computed for this input
├── StoreError               the run store cannot be read or written
└── RunError                 a run that is unknown or cannot continue
"""


class DistillError(Exception):
    """Base of every error a user can do something about."""


class ConfigError(DistillError):
    """A setting, task, method or class name that cannot be used."""


class DataError(DistillError):
    """Examples that are missing, damaged or empty."""


class ModelError(DistillError):
    """A model that is unknown, damaged or does not fit its use."""


class NeedsConversion(ModelError):  # noqa: N818 - a question to the user, not a fault
    """A model whose weights are a pickle, converted to safetensors only with the user's consent."""


class TokensDifferError(ModelError):
    """Models that split a text into different tokens: their maps can be compared by words, not by tokens."""


class NeedsReordering(ModelError):  # noqa: N818 - as above
    """A model whose classes are in another order than the task's; a reordered copy is made only with consent."""


class AttributionError(DistillError):
    """An attribution map that cannot be computed for this input."""


class StoreError(DistillError):
    """Stored runs or a teacher's stored outputs cannot be read or written."""


class RunError(DistillError):
    """A run that is unknown or cannot continue."""
