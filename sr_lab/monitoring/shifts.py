"""How far each feature has moved, by itself: what names and measures a drift; ``energy_test`` decides on it."""

from dataclasses import dataclass

import numpy as np

from sr_lab.base.statistics.energy import Array


@dataclass(frozen=True, kw_only=True)
class FeatureShift:
    """How one feature moved.

    Attributes:
        name: of the feature.
        p_value: of the two-sample Kolmogorov-Smirnov test.
        p_adjusted: after Benjamini and Hochberg, over all features.
        share: Kolmogorov-Smirnov distance: at least this share of the images has changed.
        wasserstein: distance of the distributions, in robust standard deviations of the reference.
        psi: population stability index over the deciles of the reference.
    """

    name: str
    p_value: float
    p_adjusted: float
    share: float
    wasserstein: float
    psi: float


def feature_shifts(reference: Array, current: Array, names: list[str]) -> list[FeatureShift]:
    """Every feature by itself, in the order of ``names``.

    The p-values are Kolmogorov's limit with Stephens' correction for small samples (1970).

    Args:
        reference: (N, F) scaled features.
        current: (M, F).
        names: of the columns.
    """
    from scipy.special import kolmogorov
    from scipy.stats import false_discovery_control, ks_2samp, wasserstein_distance

    columns = [(reference[:, k], current[:, k]) for k in range(len(names))]
    shares = [float(ks_2samp(*pair, method="asymp").statistic) for pair in columns]
    root = np.sqrt(len(reference) * len(current) / (len(reference) + len(current)))
    p_values = kolmogorov((root + 0.12 + 0.11 / root) * np.array(shares))
    adjusted = false_discovery_control(p_values)
    return [
        FeatureShift(
            name=name,
            p_value=float(p_values[k]),
            p_adjusted=float(adjusted[k]),
            share=shares[k],
            wasserstein=float(wasserstein_distance(*columns[k])),
            psi=population_stability(*columns[k]),
        )
        for k, name in enumerate(names)
    ]


def population_stability(reference: Array, current: Array, *, num_bins: int = 10) -> float:
    """Sum of (q - p) log(q / p) over bins at quantiles of the reference; half an image is added to each bin.

    An effect size only: without drift it grows as the sample shrinks.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, num_bins + 1)[1:-1]))
    counts = [
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) for x in (reference, current)
    ]
    p, q = ((count + 0.5) / (count.sum() + 0.5 * len(count)) for count in counts)
    return float(((q - p) * np.log(q / p)).sum())
