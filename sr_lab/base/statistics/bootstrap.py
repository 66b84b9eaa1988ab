"""Intervals of means by drawing the clusters anew."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A mean and its interval; the ends are NaN where one cluster alone says nothing of chance."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: Array, *, alpha: float = 0.05, num_draws: int = 2000, seed: int = 0) -> Bounds:
    """The percentile interval of the mean of independent clusters (Efron 1979).

    Args:
        values: (N,) a number of each cluster.
        alpha: Error of the two ends together.
        num_draws: Draws.
        seed: Of the draws: equal numbers of clusters are drawn alike, so that intervals are of the same draws.

    Raises:
        ValueError: without values.

    Example:
        >>> import numpy as np
        >>> bounds = bootstrap_mean(np.array([0.0, 1.0] * 50))
        >>> bounds.mean, bool(0.38 < bounds.low < 0.42)
        (0.5, True)
    """
    count = len(values)
    if not count:
        raise ValueError("no value: a mean needs one")
    mean = float(values.mean())
    if count < 2:
        return Bounds(mean=mean, low=float("nan"), high=float("nan"))
    random = np.random.default_rng(seed)
    weights = random.multinomial(count, np.full(count, 1 / count), size=num_draws) / count
    low, high = np.quantile(weights @ values, (alpha / 2, 1 - alpha / 2))
    return Bounds(mean=mean, low=float(low), high=float(high))
