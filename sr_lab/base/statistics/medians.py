"""Bounds on a median, whatever the distribution: what times are compared by, because a busy machine has outliers."""

import math

import numpy as np
from numpy.typing import NDArray


def median_bounds(values: NDArray[np.float64], *, alpha: float) -> tuple[float, float]:
    """One-sided bounds on the median of independent values, by order statistics; exact for any continuous distribution.

    The number of values below the median is binomial(n, 1/2), so that the k-th smallest value lies above the median
    with probability ``P(X < k)``; k is the largest for which that is at most alpha (W. R. Thompson, Ann. Math. Statist.
    7, 1936).

    Args:
        values: (n,) finite values.
        alpha: Probability with which each bound may miss.

    Returns:
        The two bounds; infinite where so few values tell nothing at this alpha.
    """
    from scipy.special import bdtr

    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    k = int(np.count_nonzero([bdtr(j, n, 0.5) <= alpha for j in range((n + 1) // 2)]))
    return (float(ordered[k - 1]), float(ordered[n - k])) if k else (-math.inf, math.inf)
