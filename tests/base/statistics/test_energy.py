import numpy as np
import pytest

from sr_lab.base.statistics import energy_test


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


def test_the_smallest_p_value_is_that_of_the_number_of_permutations():
    random = np.random.default_rng(3)
    result = energy_test(random.normal(size=(40, 2)), random.normal(5, 1, size=(40, 2)), num_permutations=999)
    assert result.p_value == pytest.approx(1 / 1000)
    assert result.num_permutations == 999


def test_no_permutation_is_refused():
    with pytest.raises(ValueError, match="num_permutations=-1: must be at least 1"):
        energy_test(np.zeros((5, 1)), np.ones((5, 1)), num_permutations=-1)
