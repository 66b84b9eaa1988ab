"""Which change of the degradation explains a drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sr_lab.base.statistics.energy import Array
from sr_lab.monitoring.features import Feature, feature
from sr_lab.monitoring.shifts import FeatureShift

if TYPE_CHECKING:
    import pandas as pd

CAUSES = ("quality", "noise", "blur", "megapixels", "aspect", "brightness", "contrast", "saturation", "warmth", "tint")
"""Features that are parameters of what was done to the images; the others are consequences."""

DEGRADATION = ("quality", "noise", "blur")
"""Causes that a preset imitates, so that training on it can help."""

MIN_EFFECT = 0.25
"""Changes of a smaller Wasserstein distance are not named: significant is not large."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One parameter that changed.

    Attributes:
        name: of the feature.
        before: median of the reference.
        after: median of the images that changed, of all where all did.
        share: of the images that have changed; where all did, the Kolmogorov-Smirnov distance.
        effect: Wasserstein distance in robust standard deviations of the reference.
        text: for people: ``JPEG quality 90 -> 55``.
        trainable: whether a degradation preset imitates it.
        certain: whether the feature is significant by itself; if not, it is only the one that moved most.
    """

    name: str
    before: float
    after: float
    share: float
    effect: float
    text: str
    trainable: bool
    certain: bool


def explain(
    reference: "pd.DataFrame", current: "pd.DataFrame", shifts: Sequence[FeatureShift], *, q: float = 0.05
) -> list[Change]:
    """The parameters that changed, the largest effect first.

    Where no parameter is significant by itself (a few images that differ much escape Kolmogorov and Smirnov), the one
    that moved most is given as a guess. So ask only when a test has found drift.

    Args:
        reference: table of the reference's features.
        current: of the current images.
        shifts: of every feature.
        q: share of false names that is accepted among those named.
    """
    causes = sorted(
        (shift for shift in shifts if shift.name in CAUSES and shift.wasserstein >= MIN_EFFECT),
        key=lambda shift: -shift.wasserstein,
    )
    named = [shift for shift in causes if shift.p_adjusted <= q]
    return [_change(shift, reference, current, certain=bool(named)) for shift in named or causes[:1]]


def _change(shift: FeatureShift, before: "pd.DataFrame", after: "pd.DataFrame", *, certain: bool) -> Change:
    known = feature(shift.name)
    reference, current = (table[shift.name].to_numpy(np.float64) for table in (before, after))
    if shift.name == "quality":
        reference, current = np.nan_to_num(reference, nan=100.0), np.nan_to_num(current, nan=100.0)
    moved = _moved(reference, current, shift.share)
    share = shift.share if moved is None else len(moved) / len(current)
    old, new = float(np.median(reference)), float(np.median(current if moved is None else moved))
    unit = f" {known.unit}" if known.unit else ""
    part = "" if moved is None else f" in {share:.0%} of the images"
    return Change(
        name=shift.name,
        before=old,
        after=new,
        share=share,
        effect=shift.wasserstein,
        text=f"{known.label} {_show(known, shift.name, old)} -> {_show(known, shift.name, new)}{unit}{part}",
        trainable=shift.name in DEGRADATION,
        certain=certain,
    )


def _moved(reference: Array, current: Array, distance: float) -> Array | None:
    """The images beyond what the reference has, where a part of them makes up the change; ``None`` where all moved."""
    low, high = np.quantile(reference, (0.01, 0.99))
    beyond = max(current[current < low], current[current > high], key=len)
    share = len(beyond) / len(current)
    return np.asarray(beyond) if 0.1 <= share <= 0.75 and distance < 2 * share else None


def _show(known: Feature, name: str, value: float) -> str:
    if name == "quality" and value >= 100:
        return "none"
    return f"{value:.{known.decimals}f}"
