"""The exceptions this library raises on purpose; each message says what came, what was wanted and what to do.

DistillError
├── ConfigError              a setting, task, method or class name that cannot be used
├── DataError                examples that are missing, damaged or empty
├── ModelError               a model that is unknown, damaged or does not fit
│   ├── NeedsConversion      its weights are a pickle: they are converted only if the user says so
│   ├── NeedsReordering      its classes are in another order: they are put right only if the user says so
│   └── TokensDifferError    models whose maps can be compared by words, not by pieces
├── AttributionError         a map that cannot be computed for this input
├── StoreError               the run store cannot be read or written
└── RunError                 a run that is unknown, or that had to end
"""


class DistillError(Exception):
    """Base of every error a user can do something about."""


class ConfigError(DistillError):
    """A setting, task, method or class name that cannot be used."""


class DataError(DistillError):
    """Examples that are missing, damaged or empty."""


class ModelError(DistillError):
    """A model that is unknown, damaged or does not fit its use."""


class NeedsConversion(ModelError):  # noqa: N818 - a question to the user rather than a fault
    """A model whose weights are a pickle, which is converted to safetensors only if the user says so."""


class TokensDifferError(ModelError):
    """Models that cut a text into different tokens: their maps can be compared by words, not by pieces."""


class NeedsReordering(ModelError):  # noqa: N818 - as above
    """A model whose classes are in another order than the task's, put right in a copy if the user says so."""


class AttributionError(DistillError):
    """An attribution map that cannot be computed for this input."""


class StoreError(DistillError):
    """What is kept on disk, runs or a teacher's numbers, cannot be read or written."""


class RunError(DistillError):
    """A run that is unknown, or that had to end."""
