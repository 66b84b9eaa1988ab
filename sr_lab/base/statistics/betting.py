"""Bets against a claim on a mean: evidence that may be looked at after every value, however many come.

A gambler with capital 1 bets against "the mean is m or less" (Waudby-Smith and Ramdas, "Estimating means of bounded
random variables by betting", J. R. Statist. Soc. B 86, 2024). After each value x in [0, 1] the capital is multiplied by
``1 + b (x - m)``, where the bet b in [0, 1 / m) was fixed before x was seen. While the claim holds, that is while the
mean of each value *given all that came before* is m or less, the capital is a supermartingale, so that it ever reaches
1 / alpha with probability alpha at most (Ville). Nothing else is assumed: neither a distribution, nor independence, nor
a number of values that was fixed beforehand.

Half of the capital is bet by aGRAPA, which approximates the bet that would have gained most so far, and half by the
predictable mixture, which makes an interval narrow. Their mean is as valid as each, and never takes more than a factor
of two to what the better one gains.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Claim = Literal["at most", "at least"]

CAP = 0.75
"""Share of the largest bet that cannot lose everything, up to which is bet."""


@dataclass(frozen=True, kw_only=True)
class Gambler:
    """Who bets against a claim on the mean of bounded values; an array of claims is an array of gamblers.

    Attributes:
        claim: Whether the mean is said to be ``at most`` or ``at least`` the value.
        value: What the mean is said to be, between the bounds.
        low: Least value that can come.
        high: Largest value that can come.
        alpha: Level that the bets of the predictable mixture are made for; the capital is valid for every level.
        shares: Parts of the capital that aGRAPA and the predictable mixture start with; they add up to 1.

    Example:
        >>> losing = Gambler(claim="at least", value=0.0, low=-1.0, high=1.0)
        >>> purse = losing.start()
        >>> for difference in [-0.5] * 30:
        ...     purse = losing.bet(purse, difference)
        >>> bool(purse.log_capital > np.log(20))
        True
    """

    claim: Claim
    value: ArrayLike
    low: float
    high: float
    alpha: float = 0.05
    shares: tuple[float, float] = (0.5, 0.5)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low={self.low}, high={self.high}: two finite bounds, the lower one first")
        values = np.asarray(self.value, dtype=np.float64)
        if not np.all((values >= self.low) & (values <= self.high)):
            raise ValueError(f"a mean of {self.value!r} does not lie between the bounds {self.low} and {self.high}")
        if self.claim not in ("at most", "at least"):
            raise ValueError(f"claim={self.claim!r}: 'at most' or 'at least'")

    def start(self, shape: tuple[int, ...] = ()) -> "Purse":
        """A purse before the first value, for so many streams at once."""
        shape = np.broadcast_shapes(shape, np.shape(self.value))
        with np.errstate(divide="ignore"):
            first, second = (np.full(shape, np.log(share)) for share in self.shares)
        return Purse(num=0, total=np.full(shape, 0.5), spread=np.full(shape, 0.25), log_first=first, log_second=second)

    def bet(self, purse: "Purse", value: ArrayLike) -> "Purse":
        """The purse after one more value of each stream; a value outside of the bounds counts as the bound.

        Raises:
            ValueError: if a value is not finite.
        """
        given = np.asarray(value, dtype=np.float64)
        if not np.isfinite(given).all():
            raise ValueError(f"{value!r} is no value that can be bet on")
        x = (np.clip(given, self.low, self.high) - self.low) / (self.high - self.low)
        m = (np.asarray(self.value, dtype=np.float64) - self.low) / (self.high - self.low)
        sign = 1.0 if self.claim == "at most" else -1.0
        count = purse.num + 1
        mean, variance = purse.total / count, purse.spread / count
        edge = sign * (mean - m)
        with np.errstate(divide="ignore"):
            most = CAP / (m if self.claim == "at most" else 1 - m)
        growing = np.clip(edge / (variance + edge**2), 0, most)
        narrowing = np.sqrt(-2 * math.log(self.alpha) / (variance * count * math.log1p(count)))
        gain = sign * (x - m)
        total = purse.total + x
        return Purse(
            num=count,
            total=total,
            spread=purse.spread + (x - total / (count + 1)) ** 2,
            log_first=purse.log_first + np.log1p(growing * gain),
            log_second=purse.log_second + np.log1p(np.minimum(narrowing, most) * gain),
        )


@dataclass(frozen=True, kw_only=True)
class Purse:
    """What a gambler has, and has seen: all that the next bet depends on.

    Attributes:
        num: Number of values so far.
        total: Their sum, scaled to [0, 1], with half a value of 1 before the first.
        spread: Sum of their squared distances from the mean so far, with 1/4 before the first.
        log_first: Natural logarithm of the part that aGRAPA has.
        log_second: The same of the predictable mixture's.
    """

    num: int
    total: Array
    spread: Array
    log_first: Array
    log_second: Array

    @property
    def log_capital(self) -> Array:
        """Natural logarithm of the capital; at ``-log(alpha)`` and above the claim is refuted at alpha."""
        return np.asarray(np.logaddexp(self.log_first, self.log_second))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, of one stream: what the betting goes on from."""
        return {"num": self.num} | {
            name: None if math.isinf(value) else value
            for name, value in (
                (name, float(getattr(self, name))) for name in ("total", "spread", "log_first", "log_second")
            )
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> "Purse":
        """The purse that ``as_dict`` described."""
        values = {name: np.asarray(-np.inf if kept[name] is None else kept[name]) for name in kept if name != "num"}
        return cls(num=int(kept["num"]), **values)


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """A confidence sequence: after each value the bounds between which the mean lies.

    Attributes:
        mean: (T,) mean of the values so far.
        low: (T,) ever above the true mean with probability alpha at most.
        high: (T,) ever below the true mean with probability alpha at most.
    """

    mean: Array
    low: Array
    high: Array


def confidence_sequence(
    values: ArrayLike,
    *,
    low: float,
    high: float,
    alpha: float,
    num_points: int = 401,
    points: ArrayLike = (),
    shares: tuple[float, float] = (0.5, 0.5),
) -> Sequence:
    """One-sided bounds on the mean of bounded values, each valid at all times together.

    On a grid of means those stay that no gambler has refuted; the bounds are the grid's next points outside of them, so
    that the grid makes them wider and never narrower.

    Args:
        values: (T,) in the order in which they came; outside of the bounds they count as the bounds.
        low: Least value that can come.
        high: Largest value that can come.
        alpha: Probability with which each bound ever misses the mean.
        num_points: Points of the grid, evenly spaced.
        points: Further points, which a decision is made at.
        shares: As for ``Gambler``.

    Raises:
        ValueError: if a value is not finite, or the bounds are none.
    """
    given = np.asarray(values, dtype=np.float64).ravel()
    grid = np.unique(np.concatenate([np.linspace(low, high, num_points), np.asarray(points, dtype=np.float64)]))
    above = Gambler(claim="at most", value=grid, low=low, high=high, alpha=alpha, shares=shares)
    below = Gambler(claim="at least", value=grid, low=low, high=high, alpha=alpha, shares=shares)
    ours, theirs = above.start(), below.start()
    bounds = np.empty((2, len(given)))
    for index, value in enumerate(given):
        ours, theirs = above.bet(ours, value), below.bet(theirs, value)
        left, right = ours.log_capital < -math.log(alpha), theirs.log_capital < -math.log(alpha)
        first = int(left.argmax()) if left.any() else len(grid) - 1
        last = len(grid) - 1 - int(right[::-1].argmax()) if right.any() else 0
        bounds[:, index] = grid[max(first - 1, 0)], grid[min(last + 1, len(grid) - 1)]
    clipped = np.clip(given, low, high)
    return Sequence(mean=np.cumsum(clipped) / np.arange(1, len(given) + 1), low=bounds[0], high=bounds[1])
