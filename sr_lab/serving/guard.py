"""The guard: compares each restored image with its input, and with a conservative model's image."""

from dataclasses import dataclass

import cv2
import numpy as np

from sr_lab.serving.consistency import Check
from sr_lab.serving.models import Pixels


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Limits beyond which an image is replaced by the conservative model's.

    Attributes:
        decibels: Least LR consistency; None: not looked at.
        energy: Greatest share of energy beyond what the input can hold; None: not looked at.
        levels: Greatest mean difference of the two images over the block of 32 pixels where they differ most, in
            levels of 255; None: the conservative image is only made where it is needed.
        generative: Whether a model that draws its images may answer at all.
    """

    decibels: float | None = 25.0
    energy: float | None = 0.5
    levels: float | None = None
    generative: bool = True

    @property
    def compares(self) -> bool:
        """Whether every image is compared with the conservative one, which costs that model's time."""
        return self.levels is not None

    def objection(self, found: Check) -> str:
        """What is wrong with an image beside its input; empty if nothing is."""
        if self.decibels is not None and found.decibels < self.decibels:
            return f"consistency {found.decibels:.1f} dB is below {self.decibels:g}"
        if self.energy is not None and found.energy > self.energy:
            return f"energy beyond the input's {found.energy:.2f} is above {self.energy:g}"
        return ""

    def disagreement(self, image: Pixels, conservative: Pixels) -> str:
        """What is wrong with an image beside the conservative one; empty if nothing is."""
        if self.levels is None:
            return ""
        found = disagreement(image, conservative)
        return f"disagreement {found:.1f} levels is above {self.levels:g}" if found > self.levels else ""


def disagreement(image: Pixels, conservative: Pixels) -> float:
    """The largest mean absolute difference of two images over blocks of 32 pixels, in levels of 255."""
    top = float(np.iinfo(image.dtype).max)
    difference = cv2.absdiff(image, conservative).astype(np.float32)
    if difference.ndim == 3:
        difference = difference.mean(axis=2)
    blocks = cv2.blur(difference, (32, 32), borderType=cv2.BORDER_REFLECT)
    return float(blocks.max()) * 255 / top
