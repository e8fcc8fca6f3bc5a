"""Agreement metrics: numbers computed by hand, exactly 1 for a map with itself, and reasons for undefined values."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from distill_core.errors import AttributionError
from distill_core.metrics import agreement
from distill_core.metrics.agreement import Undefined, compare_maps, summarise

TEACHER = [4.0, -2.0, 1.0, 0.0, -3.0]
STUDENT = [2.0, -1.0, -4.0, 0.0, 3.0]


def test_numbers_by_hand() -> None:
    found = compare_maps(TEACHER, STUDENT)
    assert found["cosine"] == pytest.approx((8 + 2 - 4 + 0 - 9) / 30)  # both of length √30
    assert found["spearman"] == pytest.approx(1 - 6 * (1 + 0 + 9 + 0 + 16) / 120)  # ranks 5 2 4 3 1, 4 2 1 3 5
    assert found["kendall"] == pytest.approx((4 - 6) / 10)
    assert found["top_k_overlap"] == 0.0  # one of five tokens: the first, and the third
    assert found["sign_agreement"] == pytest.approx(2 / 4)  # the token at zero in both is left out
    p, q = np.array([4, 2, 1, 0, 3]) / 10, np.array([2, 1, 4, 0, 3]) / 10
    middle = (p + q) / 2
    divergence = sum(x * math.log2(x / m) / 2 for part in (p, q) for x, m in zip(part, middle, strict=True) if x)
    assert found["saliency_loyalty"] == pytest.approx(1 - math.sqrt(divergence))
    assert set(found) | {"label_loyalty", "probability_loyalty"} == set(agreement.AGREEMENT_METRICS)


def test_rank_measures_equal_scipys() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = generator.integers(-4, 5, (2, 11)).astype(float)  # with ties
        assert agreement.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
        assert agreement.kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


@pytest.mark.parametrize("length", [2, 3, 7, 25, 128])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e20])
def test_a_map_against_itself_is_exactly_one(length: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(length)
    for _ in range(30):
        scores = torch.randn(length, generator=generator) * scale
        assert set(compare_maps(scores, scores.clone()).values()) == {1.0}
        assert agreement.ad_kd_distance(scores, scores.clone()) == 0.0
        probabilities = torch.softmax(torch.randn(3, generator=generator), dim=0)
        assert agreement.probability_loyalty(probabilities, probabilities.clone()) == 1.0
        assert agreement.label_loyalty(probabilities, probabilities.clone()) == 1.0


def test_scale_does_not_matter_and_the_opposite_is_minus_one() -> None:
    scores = torch.randn(9, generator=torch.Generator().manual_seed(1))
    assert set(compare_maps(scores, scores * 3).values()) == {1.0}
    assert agreement.cosine(scores, -scores) == -1.0
    assert agreement.spearman(scores, -scores) == -1.0
    assert agreement.kendall(scores, -scores) == -1.0
    assert agreement.sign_agreement(scores, -scores) == 0.0


def test_shuffled_maps_have_an_agreement_near_zero() -> None:
    generator = np.random.default_rng(0)
    values = []
    for _ in range(300):
        scores = generator.normal(size=20)
        found = compare_maps(scores, generator.permutation(scores))
        values.append([found[name] for name in ("cosine", "spearman", "kendall")])
    assert np.abs(np.mean(values, axis=0)).max() < 0.05


def test_values_stay_within_their_bounds() -> None:
    generator = np.random.default_rng(2)
    for _ in range(200):
        a = generator.normal(size=generator.integers(2, 12))
        b = a + generator.normal(size=len(a)) * 10.0 ** -generator.integers(0, 18)
        for name, value in compare_maps(a, b).items():
            if not isinstance(value, Undefined):
                low = -1.0 if name in ("cosine", "spearman", "kendall") else 0.0
                assert low <= value <= 1.0


@pytest.mark.parametrize(
    ("teacher", "student", "undefined"),
    [
        ([1.0], [2.0], dict.fromkeys(compare_maps([1, 2, 3], [1, 2, 3]), "only one score to compare")),
        ([0, 0, 0], [1, 2, 3], dict.fromkeys(compare_maps([1, 2, 3], [1, 2, 3]), "teacher's")),
        ([1, 2, 3], [0, 0, 0], dict.fromkeys(compare_maps([1, 2, 3], [1, 2, 3]), "student's")),
        ([2, 2, 2], [1, 2, 3], dict.fromkeys(("spearman", "kendall", "top_k_overlap"), "all equal")),
        ([2, -2, 2], [1, 2, 3], {"top_k_overlap": "absolute scores are all equal"}),
        ([1, float("nan"), 3], [1, 2, 3], dict.fromkeys(compare_maps([1, 2, 3], [1, 2, 3]), "not finite")),
    ],
)
def test_an_undefined_number_has_a_reason(
    teacher: list[float], student: list[float], undefined: dict[str, str]
) -> None:
    found = compare_maps(teacher, student)
    reasons = {name: value.reason for name, value in found.items() if isinstance(value, Undefined)}
    assert set(reasons) == set(undefined)
    assert all(words in reasons[name] for name, words in undefined.items())


def test_methods_without_sign_have_no_sign_agreement() -> None:
    found = compare_maps([1, 2, 3], [1, 2, 3], signed=False)
    assert found["sign_agreement"] == Undefined("the method's scores have no sign")
    assert found["cosine"] == 1.0


def test_a_zero_in_only_one_map_is_not_an_agreement() -> None:
    assert agreement.sign_agreement([1.0, 0.0, 0.0], [1.0, 1.0, 0.0]) == 0.5


@pytest.mark.parametrize(("tokens", "k"), [(2, 1), (7, 1), (8, 2), (13, 3), (25, 5)])
def test_the_top_is_a_fifth_of_the_tokens_and_at_least_one(tokens: int, k: int) -> None:
    teacher = np.arange(tokens, dtype=float)
    student = teacher.copy()
    student[-k:] = 0.0  # the teacher's top k become the student's bottom
    student[-k - 1] = 99.0
    assert agreement.top_k_overlap(teacher, student) == 0.0
    assert agreement.top_k_overlap(teacher, teacher, share=1.0) == Undefined(f"the top {tokens} are all there are")


def test_ad_kd_distance_by_hand() -> None:
    found = agreement.ad_kd_distance([3.0, 4.0, 0.0], [0.0, 1.0, 0.0])
    assert found == pytest.approx((0.36 + 0.04) / 2)  # two nonzero teacher entries


def test_loyalty_by_hand() -> None:
    assert agreement.label_loyalty([0.2, 0.8], [3.0, 1.0]) == 0.0
    assert agreement.probability_loyalty([1.0, 0.0], [0.0, 1.0]) == 0.0


def test_maps_of_other_tokens_are_refused() -> None:
    with pytest.raises(AttributionError, match="wanted scores of the same tokens"):
        agreement.cosine([1.0, 2.0], [1.0, 2.0, 3.0])


def test_many_examples_have_a_mean_an_interval_and_a_count_of_gaps() -> None:
    numbers = np.random.default_rng(0).normal(0.5, 0.1, 200).tolist()
    found = summarise([*numbers, Undefined("a"), Undefined("b")])
    assert found.mean == pytest.approx(np.mean(numbers))
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high
    assert found.high - found.low == pytest.approx(4 * 0.1 / math.sqrt(200), rel=0.15)
    assert (found.defined, found.undefined) == (200, 2)
    assert found == summarise([*numbers, Undefined("a"), Undefined("b")])


def test_few_or_equal_examples_are_summarised_too() -> None:
    nothing = summarise([Undefined("a")])
    assert (nothing.mean, nothing.low, nothing.defined, nothing.undefined) == (None, None, 0, 1)
    one = summarise([0.25])
    assert (one.mean, one.low, one.high) == (0.25, None, None)
    same = summarise([1.0] * 9)
    assert (same.mean, same.low, same.high) == (1.0, 1.0, 1.0)
