import numpy as np
import pytest

from sr_lab.base.statistics import half_width, holm, paired_p


def test_holm_is_monotone_and_leaves_unknown_ones():
    assert holm([0.01, float("nan"), 0.04, 0.03])[:1] + holm([0.01, 0.04, 0.03]) == pytest.approx(
        [0.03, 0.03, 0.06, 0.06]
    )
    assert np.isnan(holm([0.01, float("nan")])[1])


def test_what_a_single_seed_or_equal_ones_cannot_tell_is_nan():
    assert np.isnan([half_width([1.0], alpha=0.05), paired_p([1.0]), paired_p([0.5, 0.5, 0.5])]).all()
    assert half_width([0.5, 0.5], alpha=0.05) == 0
