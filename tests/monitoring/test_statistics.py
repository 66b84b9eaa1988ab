import numpy as np
import pytest
from scipy.stats import false_discovery_control, ks_2samp

from sr_lab.monitoring.statistics import (
    benjamini_hochberg,
    energy_test,
    feature_shifts,
    kolmogorov_distance,
    population_stability,
)


def test_energy_distance_is_the_double_sum_of_its_definition():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(7, 3)), random.normal(1, 1, size=(5, 3))

    def mean(a, b):
        return np.mean([np.linalg.norm(u - v) for u in a for v in b])

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert energy_test(x, y, num_permutations=50).distance == pytest.approx(expected)


def test_p_values_are_uniform_without_a_difference_also_where_the_test_stops_early():
    random = np.random.default_rng(1)
    p = np.array(
        [
            energy_test(random.normal(size=(30, 4)), random.normal(size=(20, 4)), num_permutations=499, seed=k).p_value
            for k in range(300)
        ]
    )
    for level in (0.05, 0.2, 0.5):  # within four standard errors of the level
        assert abs((p <= level).mean() - level) < 4 * np.sqrt(level * (1 - level) / 300)


def test_a_change_of_correlation_alone_is_found():
    random = np.random.default_rng(2)
    x, y = random.normal(size=(150, 2)), random.normal(size=(150, 2))
    y[:, 1] = 0.9 * y[:, 0] + np.sqrt(1 - 0.81) * y[:, 1]
    assert energy_test(x, y).p_value <= 0.005
    assert all(shift.p_adjusted > 0.05 for shift in feature_shifts(x, y, ["a", "b"]))


def test_the_smallest_p_value_is_that_of_the_number_of_permutations():
    random = np.random.default_rng(3)
    result = energy_test(random.normal(size=(40, 2)), random.normal(5, 1, size=(40, 2)), num_permutations=999)
    assert result.p_value == pytest.approx(1 / 1000)
    assert result.num_permutations == 999


def test_kolmogorov_and_benjamini_hochberg_agree_with_scipy():
    random = np.random.default_rng(4)
    x, y = random.normal(size=(80, 5)), random.normal((0, 0, 0.3, 0.6, 1), 1, size=(50, 5))
    x[:, 0] = np.round(x[:, 0])
    y[:, 0] = np.round(y[:, 0])
    expected = [ks_2samp(x[:, k], y[:, k]) for k in range(5)]
    shifts = feature_shifts(x, y, list("abcde"))
    for k, test in enumerate(expected):
        assert kolmogorov_distance(x[:, k], y[:, k]) == pytest.approx(test.statistic)
        if k:  # with ties, scipy's is not exact either
            assert shifts[k].p_value == pytest.approx(test.pvalue, rel=0.15, abs=0.01)
    p = np.array([shift.p_value for shift in shifts])
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))


def test_population_stability_of_known_shares():
    reference = np.arange(100.0)
    assert population_stability(reference, reference) == pytest.approx(0, abs=1e-12)
    current = np.where(np.arange(100) < 50, 5.0, 95.0)  # all in the first and the last decile
    p, q = np.full(10, 10.5 / 105), np.array([50.5, *[0.5] * 8, 50.5]) / 105
    assert population_stability(reference, current) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-6)
    assert np.isfinite(population_stability(np.ones(30), np.zeros(30)))


def test_no_permutation_is_refused():
    with pytest.raises(ValueError, match="num_permutations=-1: must be at least 1"):
        energy_test(np.zeros((5, 1)), np.ones((5, 1)), num_permutations=-1)
