"""Two-sample tests and effect sizes: one test decides, the others name and measure.

The energy distance (Szekely and Rizzo 2004; 2013, doi:10.1016/j.jspi.2013.03.018) sees any difference between two
distributions, of correlations too, and its permutation test keeps its level at any sample size and dimension.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FIRST_CHUNK, _LAST_CHUNK = 100, 1000
_ENOUGH = 30


@dataclass(frozen=True, kw_only=True)
class EnergyTest:
    """Result of the permutation test.

    Attributes:
        distance: energy distance of the two sets, in units of the scaled features.
        p_value: probability, without a difference, of a distance as large.
        num_permutations: drawn; fewer than asked for where the answer was clear.
    """

    distance: float
    p_value: float
    num_permutations: int


def energy_test(first: Array, second: Array, *, num_permutations: int = 9999, seed: int = 0) -> EnergyTest:
    """Permutation test of the energy distance.

    Stops early once ``30`` permutations reach the distance; the p-value is then their share, which keeps the level
    (Besag and Clifford 1991, doi:10.1093/biomet/78.2.301).

    Args:
        first: (N, F) scaled features.
        second: (M, F).
        num_permutations: the smallest p-value is ``1 / (num_permutations + 1)``.
        seed: of the permutations.

    Raises:
        ValueError: if no permutation is asked for.
    """
    from scipy.spatial.distance import cdist

    if num_permutations < 1:
        raise ValueError(f"num_permutations={num_permutations}: must be at least 1")
    n, m = len(first), len(second)
    pooled = np.concatenate([first, second])
    distances = cdist(pooled, pooled).astype(np.float32)
    rows, total = distances.sum(1, dtype=np.float64), distances.sum(dtype=np.float64)

    def energy(member: NDArray[np.float32]) -> Array:
        """(P,) energies of (P, N + M) memberships in the first set."""
        inside = np.einsum("pi,pi->p", member @ distances, member, dtype=np.float64)
        outside = member @ rows
        between = outside - inside
        return np.asarray(2 * between / (n * m) - inside / n**2 - (total - 2 * outside + inside) / m**2)

    observed = float(energy(np.repeat(np.array([1, 0], np.float32), (n, m))[None])[0])
    random = np.random.default_rng(seed)
    reached, done = 0, 0
    while done < num_permutations:
        size = min(max(done, _FIRST_CHUNK), _LAST_CHUNK, num_permutations - done)
        order = random.random((size, n + m)).argpartition(n, axis=1)
        member = np.zeros((size, n + m), np.float32)
        np.put_along_axis(member, order[:, :n], 1, axis=1)
        hits = np.cumsum(energy(member) >= observed - 1e-6 * abs(observed))
        if reached + hits[-1] >= _ENOUGH:
            last = int(np.searchsorted(hits, _ENOUGH - reached))
            return EnergyTest(distance=observed, p_value=_ENOUGH / (done + last + 1), num_permutations=done + last + 1)
        reached, done = reached + int(hits[-1]), done + size
    return EnergyTest(distance=observed, p_value=(reached + 1) / (done + 1), num_permutations=done)


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
    from scipy.stats import wasserstein_distance

    shares = [kolmogorov_distance(reference[:, k], current[:, k]) for k in range(len(names))]
    root = np.sqrt(len(reference) * len(current) / (len(reference) + len(current)))
    p_values = kolmogorov((root + 0.12 + 0.11 / root) * np.array(shares))
    adjusted = benjamini_hochberg(p_values)
    return [
        FeatureShift(
            name=name,
            p_value=float(p_values[k]),
            p_adjusted=float(adjusted[k]),
            share=shares[k],
            wasserstein=float(wasserstein_distance(reference[:, k], current[:, k])),
            psi=population_stability(reference[:, k], current[:, k]),
        )
        for k, name in enumerate(names)
    ]


def kolmogorov_distance(reference: Array, current: Array) -> float:
    """Largest difference of the two distribution functions."""
    points = np.concatenate([reference, current])
    below = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (reference, current)]
    return float(np.abs(below[0] - below[1]).max())


def benjamini_hochberg(p_values: Array) -> Array:
    """(F,) p-values adjusted so that a cut at q keeps the expected share of false names at q or below (1995)."""
    order = np.argsort(p_values)
    ranked = p_values[order] * len(p_values) / np.arange(1, len(p_values) + 1)
    adjusted = np.empty_like(ranked)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted


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
