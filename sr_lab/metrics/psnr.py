"""Peak signal-to-noise ratio."""

from typing import ClassVar

import torch
from torch import Tensor

from sr_lab.metrics.base import ProtocolMetric
from sr_lab.metrics.pairs import checked_pair


def psnr(restored: Tensor, target: Tensor, *, border: int = 0, max_value: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio of each image, in decibels: 10 log10(max_value^2 / MSE).

    Per image and not pooled: the literature reports the mean of per-image values, which differs from
    the PSNR of the pooled error.

    Args:
        restored: network output, (B, C, H, W), values in [0, max_value].
        target: ground truth, same shape and range.
        border: pixels ignored at each edge; by custom the scale factor.
        max_value: top of the value range.

    Returns:
        (B,) float tensor; ``inf`` where the two images are equal.

    Raises:
        ValueError: if the shapes differ, or ``border`` leaves no pixel.
    """
    restored, target = checked_pair(restored, target, border=border)
    error = (restored - target).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(max_value**2 / error)


class PSNR(ProtocolMetric):
    """Mean per-image PSNR under a protocol, in decibels.

    In the mean an image counts at most 100 dB: one image restored without any error (infinite PSNR) then
    raises the mean by a finite amount instead of replacing it.

    Args:
        protocol: Protocol: rounding, colour conversion and border.
        scale: Enlargement factor, which sets the border.
    """

    quantity = "psnr"
    higher_is_better = True
    ceiling: ClassVar[float] = 100.0
    unit = "dB"
    digits = ".2f"

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) decibels; ``inf`` where the images are equal."""
        return psnr(*self.protocol.compare(restored, target, scale=self.scale))
