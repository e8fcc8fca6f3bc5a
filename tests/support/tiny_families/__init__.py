"""A tiny random model for every encoder family, one file a family; each file's VARIANTS are collected here."""

import importlib
import pkgutil
from collections.abc import Mapping

from tests.support.tiny_families.family import TinyFamily

FAMILIES: Mapping[str, TinyFamily] = {
    name: family
    for module in pkgutil.iter_modules(__path__)
    if module.name != "family"
    for name, family in importlib.import_module(f"{__name__}.{module.name}").VARIANTS.items()
}
