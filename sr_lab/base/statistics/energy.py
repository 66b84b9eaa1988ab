"""Whether two samples are of one distribution, in any number of dimensions.

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
