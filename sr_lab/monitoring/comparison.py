"""A set of images against a reference profile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sr_lab.base.statistics import EnergyTest, energy_test
from sr_lab.base.statistics.energy import Array
from sr_lab.base.words import counted
from sr_lab.monitoring.explanation import Change, explain
from sr_lab.monitoring.features import Scaling
from sr_lab.monitoring.profile import Profile
from sr_lab.monitoring.shifts import FeatureShift, feature_shifts

MIN_IMAGES = 20
"""Below, a test has so little power that its silence would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What a comparison found. Whether it is an alarm is for ``RepeatedChecks`` or ``Stream`` to say.

    Attributes:
        test: of all features together: it decides.
        shifts: of each feature: they name and measure.
        changes: parameters that changed, by ``explain``.
        reference: (N, F) scaled features of the reference.
        current: (M, F) scaled features of the current images.
        oddness: (M,) root mean square of each current image's scaled features: how unusual it is for the reference.
    """

    test: EnergyTest
    shifts: list[FeatureShift]
    changes: list[Change]
    reference: Array
    current: Array
    oddness: Array

    def moved(self, *, q: float = 0.05) -> list[FeatureShift]:
        """Features named by Kolmogorov-Smirnov and Benjamini-Hochberg at ``q``, the largest effect first."""
        return sorted((s for s in self.shifts if s.p_adjusted <= q), key=lambda shift: -shift.wasserstein)


def compare(
    reference: Profile,
    current: Profile,
    *,
    min_images: int = MIN_IMAGES,
    num_permutations: int = 9999,
    seed: int = 0,
) -> Drift:
    """Tests the current images against the reference.

    Args:
        reference: profile of how it should be.
        current: of the images in question, measured with the same settings.
        min_images: of each.
        num_permutations: see ``energy_test``.
        seed: of the permutations.

    Raises:
        ValueError: if the profiles were measured with different settings, or one has too few images.
    """
    check_comparable(reference, current.settings)
    check_enough(reference, "the profile holds", min_images)
    check_enough(current, "there are", min_images)
    scaling = Scaling.of(reference.table)
    before, after = scaling(reference.table), scaling(current.table)
    pooled = Scaling.pooled(reference.table, current.table)
    shifts = feature_shifts(before, after, list(scaling.names))
    return Drift(
        test=energy_test(pooled(reference.table), pooled(current.table), num_permutations=num_permutations, seed=seed),
        shifts=shifts,
        changes=explain(reference.table, current.table, shifts),
        reference=before,
        current=after,
        oddness=np.sqrt(np.square(after).mean(1)),
    )


def check_comparable(reference: Profile, settings: Mapping[str, Any]) -> None:
    """Refuses settings with which images cannot be compared with a profile.

    Raises:
        ValueError: naming the settings that differ.
    """
    if differences := reference.differences(settings):
        raise ValueError(
            f"the profile was measured with other settings: {'; '.join(differences)}: give the profile's, or make it "
            "again with srlab profile"
        )


def check_enough(profile: Profile, what: str, min_images: int) -> None:
    """Refuses a profile of fewer than ``min_images``; ``what`` begins the message.

    Raises:
        ValueError: if it has fewer.
    """
    if len(profile) < min_images:
        raise ValueError(
            f"{what} {counted(len(profile), 'usable image')}, fewer than min_images={min_images}: with so few, no "
            "drift found would mean little; gather more, or lower min_images"
        )
