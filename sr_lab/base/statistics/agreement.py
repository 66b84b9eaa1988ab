"""How far raters agree: Krippendorff's alpha, which takes any number of raters and any gaps."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def krippendorff_alpha(
    values: NDArray[np.float64], units: NDArray[np.int64], *, level: Literal["nominal", "interval"] = "nominal"
) -> float:
    """1 less the disagreement within units over the disagreement by chance; 1 is perfect, 0 is chance.

    K. Krippendorff, "Content Analysis", chapter 12: every pair of values of one unit counts ``1 / (m - 1)``, where m is
    the unit's number of values; a unit with one value says nothing.

    Args:
        values: (N,) what was said.
        units: (N,) of which unit.
        level: What a disagreement is: any difference (``nominal``) or its square (``interval``).

    Returns:
        Alpha; NaN where no unit has two values, or all values are one.

    Example:
        >>> krippendorff_alpha(np.array([1.0, 1.0, 2.0, 2.0]), np.array([0, 0, 1, 1]))
        1.0
    """
    if level not in ("nominal", "interval"):
        raise ValueError(f"level={level}: nominal or interval")
    kinds, kind = np.unique(values, return_inverse=True)
    names, unit = np.unique(units, return_inverse=True)
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (unit, kind), 1)
    sizes = counts.sum(axis=1)
    counts, sizes = counts[sizes > 1], sizes[sizes > 1]
    if not len(counts):
        return math.nan
    together = counts.T @ (counts / (sizes - 1)[:, None])
    together[np.diag_indices_from(together)] -= (counts / (sizes - 1)[:, None]).sum(axis=0)
    totals = together.sum(axis=1)
    apart = (kinds[:, None] != kinds[None]) * 1.0 if level == "nominal" else np.subtract.outer(kinds, kinds) ** 2
    chance = float((np.outer(totals, totals) * apart).sum()) / (totals.sum() - 1)
    return math.nan if chance == 0 else float(1 - (together * apart).sum() / chance)
