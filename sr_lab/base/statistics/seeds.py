"""Few values, one a seed: Student's interval of their mean, the test that it is zero, and the correction for many."""

import itertools
from collections.abc import Sequence

import numpy as np


def half_width(values: Sequence[float], *, alpha: float) -> float:
    """Half width of Student's interval of the mean; NaN below two values.

    Args:
        values: The values.
        alpha: The interval misses the truth with this probability.
    """
    from scipy import stats

    if len(values) < 2:
        return float("nan")
    return float(stats.t.isf(alpha / 2, len(values) - 1) * stats.sem(values))


def paired_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t test that the mean difference is zero; NaN below two, or where all are equal."""
    from scipy import stats

    if len(differences) < 2 or np.ptp(differences) == 0:
        return float("nan")
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p == p)
    corrected = list(p_values)
    steps = [min(1.0, (len(known) - rank) * p) for rank, (p, _) in enumerate(known)]
    for (_, place), value in zip(known, itertools.accumulate(steps, max), strict=True):
        corrected[place] = value
    return corrected
