import numpy as np
import pytest
from scipy.stats import quantile_test

from sr_lab.base.statistics import median_bounds


@pytest.mark.parametrize("n", [7, 16, 33, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_bounds_are_scipys(n, alpha):
    values = np.random.default_rng(n).standard_normal(n)
    low, high = median_bounds(values, alpha=alpha)
    one_sided = {
        side: quantile_test(values, p=0.5, alternative=side).confidence_interval(confidence_level=1 - alpha)
        for side in ("greater", "less")
    }
    assert (low, high) == (one_sided["greater"].low, one_sided["less"].high)


def test_few_values_tell_nothing():
    assert median_bounds(np.arange(4.0), alpha=0.05) == (-np.inf, np.inf)


def test_the_bound_misses_with_probability_alpha_at_most_whatever_the_shape():
    values = np.random.default_rng(0).exponential(size=(4000, 16))
    low = np.array([median_bounds(row, alpha=0.05)[0] for row in values])
    assert (low > np.log(2)).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
