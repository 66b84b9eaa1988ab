"""Which pairs to ask for: every pair alike where there are few, and those that tell most where there are many.

What a vote tells of the scores is the mutual information of the two: the entropy of the answer less its mean entropy
given the scores (Lindley 1956; what ASAP, Mikhailiuk et al. 2020, chooses by). Given the scores so far, the difference
of two is taken for normal, and the means are Gauss-Hermite sums. Pairs are taken as maximum spanning trees, so that
every round connects all (Hybrid-MST, Li et al., NeurIPS 2018); after each tree the covariance is what it will be once
these votes are in.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sr_lab.base.statistics.preferences import SCORE_SD, preference

Array = NDArray[np.float64]
Pair = tuple[int, int]

FEW = 6
"""Things up to which every pair is asked for alike."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


def information(mean: Array, covariance: Array, *, tie: float = 0.0) -> Array:
    """(K, K) nats that one more vote on each pair tells of the scores; zero on the diagonal.

    Args:
        mean: (K,) scores so far.
        covariance: (K, K) of them.
        tie: Logarithm of the weight of a tie.
    """
    variances = np.diag(covariance)
    spread = np.sqrt(np.maximum(variances[:, None] + variances[None] - 2 * covariance, 0))
    differences = (mean[:, None] - mean[None])[..., None] + spread[..., None] * _NODES
    given = np.stack(preference(differences, tie))
    weights = _WEIGHTS / _WEIGHTS.sum()
    told = _entropy((given * weights).sum(axis=-1)) - (_entropy(given) * weights).sum(axis=-1)
    told = np.maximum((told + told.T) / 2, 0)
    np.fill_diagonal(told, 0)
    return np.asarray(told)


def pairs_by_information(mean: Array, covariance: Array, *, tie: float, random: np.random.Generator) -> Iterator[Pair]:
    """Pairs without end, a spanning tree at a time; equal ones in random order."""
    num = len(mean)
    covariance = covariance.copy()
    while True:
        told = information(mean, covariance, tie=tie) * (1 + 1e-3 * random.random((num, num)))
        for first, second in _spanning_tree(told + told.T):
            yield first, second
            covariance = _after(mean, covariance, first, second, tie)


def every_pair(num: int, random: np.random.Generator) -> Iterator[Pair]:
    """All pairs again and again, each time in another order."""
    pairs = [(first, second) for first in range(num) for second in range(first + 1, num)]
    while True:
        for index in random.permutation(len(pairs)):
            yield pairs[index]


def pairs_of(
    num: int,
    random: np.random.Generator,
    *,
    mean: Array | None = None,
    covariance: Array | None = None,
    tie: float = 0.0,
) -> Iterator[Pair]:
    """The pairs to ask for, without end: every one alike of up to six things, else by information.

    Args:
        num: Things.
        random: Breaks ties.
        mean: (num,) scores so far; None: none are known.
        covariance: (num, num) of them.
        tie: Logarithm of the weight of a tie.
    """
    if num <= FEW:
        return every_pair(num, random)
    if mean is None or covariance is None:
        mean, covariance = np.zeros(num), np.eye(num) * SCORE_SD**2 / 4
    return pairs_by_information(mean, covariance, tie=tie, random=random)


def _after(mean: Array, covariance: Array, first: int, second: int, tie: float) -> Array:
    """The covariance once a vote on a pair is in: Newton's curvature at the mean, as a rank-one update."""
    left, _, right = preference(mean[first] - mean[second], tie)
    curvature = float((left + right) / 4 - ((left - right) / 2) ** 2)
    column = covariance[:, first] - covariance[:, second]
    variance = float(column[first] - column[second])
    return np.asarray(covariance - np.outer(column, column) * curvature / (1 + curvature * variance))


def _spanning_tree(weights: Array) -> list[Pair]:
    """Kruskal's tree of the largest weights."""
    num = len(weights)
    root = list(range(num))

    def find(node: int) -> int:
        while root[node] != node:
            node = root[node]
        return node

    rows, columns = np.triu_indices(num, 1)
    tree = []
    for index in np.argsort(-weights[rows, columns], kind="stable"):
        first, second = int(rows[index]), int(columns[index])
        if (one := find(first)) != (other := find(second)):
            root[one] = other
            tree.append((first, second))
    return tree


def _entropy(probabilities: Array) -> Array:
    return np.asarray(-(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=0))
