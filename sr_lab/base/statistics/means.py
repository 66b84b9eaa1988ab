"""A mean, from independent clusters of dependent values, with what can be said of its error: what the gate decides by.

Frames of one scene rise and fall together, so the scene is the unit: the values of a scene are averaged, and the
averages, which are independent, go into a t interval. Every scene counts once, however many images it has.

A t interval is too optimistic where rare scenes lose much (a negative skew: the sample has not seen the loss yet, and
underestimates both its size and its spread). Hall's transformation corrects for the skew of the sample (P. Hall, "On
the removal of skewness by transformation", J. R. Statist. Soc. B 54, 1992). It is used only where it makes a bound
wider: a bound is never tighter than Student's. The skew of a small sample is biased towards zero, most of all in the
samples whose mean is too good; so it is taken ``(1.5 + 8 / n)`` times, beside the usual correction for n. These two
numbers were chosen by simulation, on exponential losses (experiments/gate_simulation). Fewer than ``LEAST`` values tell
nothing of a skew: there the interval is Student's. Policies ask for that many (``min_scenes``) unless they say less.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_lab.base.words import counted

Array = NDArray[np.float64]

LEAST = 8
"""Values from which on their skew is taken into account."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with one-sided bounds, each of which misses the truth with probability alpha.

    Attributes:
        mean: (...) mean over the clusters.
        low: (...) the true mean lies below it with probability at most alpha.
        high: (...) the true mean lies above it with probability at most alpha.
        degenerate: (...) the clusters do not differ beyond rounding, so nothing can be said about chance; the
            bounds are NaN there.
    """

    mean: Array
    low: Array
    high: Array
    degenerate: NDArray[np.bool_]


def cluster_means(values: Sequence[float], clusters: Sequence[str]) -> Array:
    """(G,) mean of the values of each cluster, in order of the cluster's name."""
    if len(values) != len(clusters):
        raise ValueError(
            f"{counted(len(values), 'value')} with {counted(len(clusters), 'cluster name')}: give one name for "
            f"each value"
        )
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    return np.asarray(sums / np.bincount(index), dtype=np.float64)


def mean_interval(values: Array, *, alpha: float, resolution: float = 1e-12) -> Interval:
    """One-sided bounds on the mean of independent values, corrected for skew.

    Hall's transformation of the t statistic, ``H(t) = ((1 + a t / 3)^3 - 1) / a + a / 6`` with ``a = skew / sqrt(n)``,
    rises with t, so it is solved for t at Student's quantile; the larger of that and Student's quantile is used. The
    skew is the sample's, enlarged as the module says.

    Args:
        values: (..., n) finite values, n >= 2, independent along the last axis.
        alpha: probability with which each bound may miss, in (0, 0.5).
        resolution: a standard deviation up to this is rounding.

    Returns:
        The means and bounds, (...).

    Raises:
        ValueError: if n < 2, alpha is out of range, or a value is not finite.
    """
    from scipy.special import stdtrit

    n = values.shape[-1]
    if n < 2:
        raise ValueError(f"an interval needs 2 independent values or more, not {n}")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha={alpha}: must lie between 0 and 0.5")
    if not np.isfinite(values).all():
        raise ValueError("an interval needs finite values: there is a NaN or an infinity among them")
    mean = values.mean(axis=-1)
    centred = values - mean[..., None]
    variance = np.square(centred).mean(axis=-1)
    degenerate = np.asarray(np.sqrt(variance) <= resolution)
    spread = np.where(degenerate, 1.0, np.sqrt(variance))
    error = spread / np.sqrt(n - 1)
    skew = skew_factor(n) * (centred**3).mean(axis=-1) / spread**3 / np.sqrt(n)
    student = float(stdtrit(n - 1, 1 - alpha))
    low = np.where(degenerate, np.nan, mean - np.maximum(student, _hall(student, skew)) * error)
    high = np.where(degenerate, np.nan, mean + np.maximum(student, _hall(student, -skew)) * error)
    return Interval(mean=mean, low=low, high=high, degenerate=degenerate)


def skew_factor(n: int) -> float:
    """By how much the skew of a sample of ``n`` values is enlarged; 0 below ``LEAST``."""
    return 0.0 if n < LEAST else (1.5 + 8 / n) * math.sqrt(n * (n - 1)) / (n - 2)


def _hall(quantile: float, a: Array) -> Array:
    """The t at which Hall's transformation with the scaled skew ``a`` reaches ``quantile``.

    Beyond the negative skew at which the cube root is about -1/2 that t would fall again; there it stays.
    """
    safe = np.where(np.abs(a) < 1e-6, 1e-6, np.maximum(a, -3 * (math.sqrt(quantile**2 + 0.75) - quantile)))
    return np.asarray(3 / safe * (np.cbrt(1 + safe * (quantile - safe / 6)) - 1), dtype=np.float64)
