"""Image by image: a bet against "as in the reference" for each feature, valid at any time one cares to look.

A conformal test martingale (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2nd ed. 2022,
ch. 8): the rank of each new value among those of the reference and of the stream so far is uniform without drift, and
a gambler who bets that it is not multiplies his capital by more than F / alpha with probability alpha / F at most, ever
(Ville). F features are F gamblers. The gamblers move between a few simple bets at a constant rate, so that a change
that comes late is noticed soon.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BETS: tuple[Callable[[Array], Array], ...] = (
    lambda p: np.ones_like(p),
    lambda p: 2 * p,
    lambda p: 2 - 2 * p,
    lambda p: 0.4 * p**-0.6,
    lambda p: 0.4 * (1 - p) ** -0.6,
    lambda p: 0.5 * np.minimum(2 * p, 2 - 2 * p) ** -0.5,
    lambda p: 2 * np.minimum(2 * p, 2 - 2 * p),
)


@dataclass(frozen=True)
class StreamResult:
    """What the gamblers made.

    Attributes:
        names: of the features.
        log_capital: (T, F) natural logarithms after each image.
        threshold: logarithm of the capital that raises the alarm.
    """

    names: Sequence[str]
    log_capital: Array
    threshold: float

    @property
    def alarm_at(self) -> int | None:
        """Index of the image with which the alarm was raised; it stays on."""
        reached = (self.log_capital >= self.threshold).any(1)
        return int(reached.argmax()) if reached.any() else None

    @property
    def p_value(self) -> float:
        """Anytime-valid: smallest alpha at which there would be an alarm, at most 1."""
        top = float(self.log_capital.max(initial=0.0))
        return float(min(1.0, len(self.names) * np.exp(-top)))


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Rules of the bets.

    Attributes:
        alpha: probability that a stream without drift ever raises an alarm, however long.
        jump: share of the capital that is spread anew over the bets at each image.
        seed: of the tie-breaks.
    """

    alpha: float = 0.05
    jump: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0 < self.alpha < 0.5 or not 0 < self.jump < 1:
            raise ValueError(f"alpha={self.alpha}, jump={self.jump}: must lie in (0, 0.5) and (0, 1)")

    def __call__(self, reference: Array, stream: Array, names: Sequence[str]) -> StreamResult:
        """Bets on a stream from its start.

        Args:
            reference: (N, F) features.
            stream: (T, F) features, in the order in which the images came.
            names: of the features.
        """
        ranks = _ranks(reference, stream, np.random.default_rng(self.seed))
        gains = np.stack([bet(ranks) for bet in _BETS], axis=-1)
        share = np.full((len(names), len(_BETS)), 1 / len(_BETS))
        log_capital = np.zeros((len(stream), len(names)))
        total = np.zeros(len(names))
        for index, gain in enumerate(gains):
            share = ((1 - self.jump) * share + self.jump / len(_BETS)) * gain
            won = share.sum(1)
            share /= won[:, None]
            total = total + np.log(won)
            log_capital[index] = total
        return StreamResult(names, log_capital, float(np.log(len(names) / self.alpha)))


def _ranks(reference: Array, stream: Array, random: np.random.Generator) -> Array:
    """(T, F) smoothed ranks in (0, 1) of each value among the reference and the stream up to it."""
    ties = random.random(stream.shape)
    ranks = np.empty(stream.shape)
    for column in range(stream.shape[1]):
        bag = sorted(reference[:, column].tolist())
        for index, value in enumerate(stream[:, column].tolist()):
            below, upto = bisect_left(bag, value), bisect_right(bag, value)
            insort(bag, value)
            ranks[index, column] = (below + ties[index, column] * (upto - below + 1)) / len(bag)
    clipped: Array = np.clip(ranks, 1e-12, 1 - 1e-12)
    return clipped
