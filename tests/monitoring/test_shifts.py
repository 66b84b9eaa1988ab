import numpy as np
import pytest
from scipy.stats import false_discovery_control, ks_2samp

from sr_lab.base.statistics import energy_test
from sr_lab.monitoring.shifts import feature_shifts, population_stability


def test_a_change_of_correlation_alone_is_found():
    random = np.random.default_rng(2)
    x, y = random.normal(size=(150, 2)), random.normal(size=(150, 2))
    y[:, 1] = 0.9 * y[:, 0] + np.sqrt(1 - 0.81) * y[:, 1]
    assert energy_test(x, y).p_value <= 0.005
    assert all(shift.p_adjusted > 0.05 for shift in feature_shifts(x, y, ["a", "b"]))


def test_p_values_are_close_to_scipy_s_and_adjusted_over_the_features():
    random = np.random.default_rng(4)
    x, y = random.normal(size=(80, 5)), random.normal((0, 0, 0.3, 0.6, 1), 1, size=(50, 5))
    x[:, 0] = np.round(x[:, 0])
    y[:, 0] = np.round(y[:, 0])
    expected = [ks_2samp(x[:, k], y[:, k]) for k in range(5)]
    shifts = feature_shifts(x, y, list("abcde"))
    for k, test in enumerate(expected):
        assert shifts[k].share == pytest.approx(test.statistic)
        if k:  # with ties, scipy's is not exact either
            assert shifts[k].p_value == pytest.approx(test.pvalue, rel=0.15, abs=0.01)
    p = np.array([shift.p_value for shift in shifts])
    assert [shift.p_adjusted for shift in shifts] == pytest.approx(false_discovery_control(p))


def test_population_stability_of_known_shares():
    reference = np.arange(100.0)
    assert population_stability(reference, reference) == pytest.approx(0, abs=1e-12)
    current = np.where(np.arange(100) < 50, 5.0, 95.0)  # all in the first and the last decile
    p, q = np.full(10, 10.5 / 105), np.array([50.5, *[0.5] * 8, 50.5]) / 105
    assert population_stability(reference, current) == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-6)
    assert np.isfinite(population_stability(np.ones(30), np.zeros(30)))
