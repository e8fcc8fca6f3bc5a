"""The keys of stored targets: those of version 0.1, and the settings they depend on."""

from dataclasses import replace

import pytest

from distill_core.objectives import Objective
from distill_core.objectives.ad_kd import AdKd
from distill_core.objectives.egkd_feature_selection import EgkdFeatureSelection
from distill_core.objectives.egkd_gradient import EgkdGradient
from distill_core.objectives.egkd_perturbation import EgkdPerturbation
from distill_core.objectives.gkd import Gkd
from distill_core.objectives.gkd_cls import GkdCls
from distill_core.objectives.minilm import MiniLm
from distill_core.objectives.pkd import Pkd

VERSION_0_1 = [
    (AdKd(), "AdKd(top_k=None, steps=1, norm='l2', key='ad_kd', by_token=frozenset({'maps'}))"),
    (AdKd(3, 4, "l1", "l1"), "AdKd(top_k=3, steps=4, norm='l1', key='ad_kd', by_token=frozenset({'maps'}))"),
    (Gkd(), "Gkd(key='gkd', by_token=frozenset({'gradient'}))"),
    (GkdCls(((1, 2),)), "GkdCls(pairs=((1, 2),), key='gkd_cls', by_token=frozenset({'gradient'}))"),
    (Pkd(((1, 2), (2, 4))), "Pkd(pairs=((1, 2), (2, 4)), key='pkd', by_token=frozenset())"),
    (EgkdGradient(), "EgkdGradient(key='egkd_gradient', by_token=frozenset({'map'}))"),
    (EgkdPerturbation(8, 2), "EgkdPerturbation(erasures=8, key='egkd_perturbation', by_token=frozenset({'erased'}))"),
    (
        EgkdFeatureSelection(0.3),
        "EgkdFeatureSelection(share=0.3, key='egkd_feature_selection', by_token=frozenset({'rationale'}))",
    ),
]


@pytest.mark.parametrize(("objective", "key"), VERSION_0_1, ids=lambda value: getattr(value, "key", None))
def test_targets_stored_by_version_0_1_are_found(objective: Objective, key: str) -> None:
    assert objective.cache_key == key


def test_a_setting_that_changes_the_targets_changes_the_key() -> None:
    assert len({MiniLm().cache_key, MiniLm(heads=2).cache_key, MiniLm(layer=2).cache_key}) == 3
    assert AdKd(distance="l1").cache_key == AdKd().cache_key
    assert replace(EgkdPerturbation(), each_step=3).cache_key == EgkdPerturbation().cache_key
