import numpy as np
import pytest
from scipy import stats

from sr_lab.base.statistics import cluster_means, mean_interval


def test_cluster_means_weigh_every_scene_once():
    means = cluster_means([1.0, 3.0, 10.0], ["b", "b", "a"])
    assert means.tolist() == [10.0, 2.0]


def test_bounds_of_symmetric_values_are_students():
    values = np.array([-3.0, -1.0, 0.0, 1.0, 3.0]) + 7
    interval = mean_interval(values, alpha=0.05)
    expected = stats.t.interval(0.90, df=4, loc=7, scale=stats.sem(values))
    assert float(interval.low) == pytest.approx(expected[0])
    assert float(interval.high) == pytest.approx(expected[1])


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_skewed_bound_solves_halls_equation(alpha):
    values = np.array([0.1, 0.2, 0.15, 0.12, 0.18, 0.16, 0.06, 0.11])
    interval = mean_interval(values, alpha=alpha)
    t = (values.mean() - float(interval.low)) / stats.sem(values)
    a = 2.5 * stats.skew(values, bias=False) / np.sqrt(len(values))
    transformed = t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
    assert transformed == pytest.approx(stats.t.ppf(1 - alpha, 7))
    assert t > stats.t.ppf(1 - alpha, 7)


def test_bound_is_never_tighter_than_students():
    values = np.random.default_rng(0).exponential(size=(500, 9))
    for sign in (1, -1):
        interval = mean_interval(sign * values, alpha=0.05)
        error = stats.sem(values, axis=1) * stats.t.ppf(0.95, 8)
        assert (interval.low <= interval.mean - error + 1e-12).all()
        assert (interval.high >= interval.mean + error - 1e-12).all()


def test_a_rarer_larger_loss_never_makes_the_bound_tighter():
    """In standard errors: samples of seven equal gains, spread a little, and a loss that grows."""
    for alpha in (0.01, 0.025, 0.05, 0.2):
        widths = []
        for loss in np.linspace(0.0, 5.0, 60):
            values = np.array([0.1, 0.2, 0.15, 0.12, 0.18, 0.16, 0.11, 0.14, 0.1 - loss])
            low = float(mean_interval(values, alpha=alpha).low)
            skew = stats.skew(values)
            widths.append((skew, (values.mean() - low) / stats.sem(values)))
        ordered = [width for _, width in sorted(widths, reverse=True)]
        assert (np.diff(ordered) > -0.02 * ordered[0]).all()


def test_interval_mirrors_with_its_values():
    values = np.random.default_rng(1).exponential(size=12)
    there, back = mean_interval(values, alpha=0.05), mean_interval(-values, alpha=0.05)
    assert float(there.low) == pytest.approx(-float(back.high))


def test_rows_of_an_array_are_independent_problems():
    values = np.random.default_rng(2).standard_normal((3, 10))
    together = mean_interval(values, alpha=0.05)
    alone = [float(mean_interval(row, alpha=0.05).low) for row in values]
    assert together.low.tolist() == pytest.approx(alone)


def test_equal_values_have_no_bounds():
    interval = mean_interval(np.array([[0.1 + 0.2] * 5, [0.0, 1.0, 2.0, 3.0, 4.0]]), alpha=0.05)
    assert interval.degenerate.tolist() == [True, False]
    assert np.isnan(interval.low).tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "alpha", "message"),
    [
        ([1.0], 0.05, "2 independent"),
        ([1.0, 2.0], 0.5, "alpha"),
        ([1.0, np.nan], 0.05, "NaN"),
        ([1.0, np.inf], 0.05, "inf"),
    ],
)
def test_what_has_no_interval_is_refused(values, alpha, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(np.array(values), alpha=alpha)


def test_one_name_for_each_value():
    with pytest.raises(ValueError, match="2 values with 1"):
        cluster_means([1.0, 2.0], ["a"])
