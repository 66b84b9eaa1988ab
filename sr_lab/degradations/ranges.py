"""Ranges and weights as configurations give them, checked, and the draws from them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sr_lab.base.randomness import Floats

Range = float | Sequence[float]


def bounds(name: str, value: Range, *, low: float = -np.inf, high: float = np.inf) -> tuple[float, float]:
    """(lowest, highest) of a range; a single number is a range of one value.

    Args:
        name: of the argument, for the error.
        value: a number, or two in ascending order.
        low: smallest value allowed.
        high: largest value allowed.

    Raises:
        ValueError: if ``value`` is something else, or leaves ``low``..``high``.
    """
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(numbers) not in (1, 2) or not all(
        isinstance(number, int | float) and not isinstance(number, bool) for number in numbers
    ):
        raise ValueError(f"{name}={value!r}: give a number, or [lowest, highest]")
    first, last = float(numbers[0]), float(numbers[-1])
    if not low <= first <= last <= high:
        raise ValueError(f"{name}={value!r}: must ascend and lie in {low:g}..{high:g}")
    return first, last


def integer_bounds(name: str, value: Range, *, low: int, high: int) -> tuple[int, int]:
    """(smallest, largest) whole number of a range; see ``bounds``.

    Raises:
        ValueError: if there is none, too.
    """
    first, last = bounds(name, value, low=low, high=high)
    if math.ceil(first) > math.floor(last):
        raise ValueError(f"{name}={value!r}: holds no whole number")
    return math.ceil(first), math.floor(last)


def weights_of(name: str, weights: Mapping[str, float], known: Sequence[str]) -> tuple[list[str], Floats]:
    """Names and cumulative probabilities of a mapping from name to weight.

    Raises:
        ValueError: if a name is unknown, a weight is negative, or all are zero.
    """
    for key, weight in weights.items():
        if key not in known:
            raise ValueError(f"{name}.{key} is not known: choose from {', '.join(known)}")
        if not weight >= 0:
            raise ValueError(f"{name}.{key}={weight}: a weight must be at least 0")
    chosen = [key for key, weight in weights.items() if weight > 0]
    if not chosen:
        raise ValueError(f"{name} is empty: give at least one of {', '.join(known)} a weight above 0")
    total = np.cumsum([weights[key] for key in chosen], dtype=np.float64)
    return chosen, total / total[-1]


def between(uniform: Floats, limits: tuple[float, float]) -> Floats:
    """Uniform numbers of a range."""
    return limits[0] + uniform * (limits[1] - limits[0])


def integers(uniform: Floats, limits: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Uniform integers of a closed range."""
    return limits[0] + np.floor(uniform * (limits[1] - limits[0] + 1)).astype(np.int64)


def pick(uniform: Floats, cumulative: Floats) -> npt.NDArray[np.int64]:
    """Index drawn by cumulative probabilities."""
    return np.minimum(np.searchsorted(cumulative, uniform, side="right"), len(cumulative) - 1).astype(np.int64)
