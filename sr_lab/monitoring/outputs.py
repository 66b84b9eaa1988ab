"""What can be told of a restored image without its original."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sr_lab.degradations.estimate.arrays import as_levels, luma
from sr_lab.images import resize_bicubic, to_array, to_tensor, to_uint8
from sr_lab.metrics.consistency import LIMIT
from sr_lab.metrics.psnr import psnr
from sr_lab.monitoring.measuring import Pixels
from sr_lab.monitoring.naturalness import naturalness


class RestoredOutputs:
    """Features of what a restorer makes of an image.

    ``consistency``: PSNR in decibels between the image and its restoration, rounded to 8 bits and shrunk again by
    MATLAB's bicubic. ``naturalness``: distance from the statistics of photos. ``variance``, of a generative network:
    root of the mean variance over its samples, in 8-bit levels.

    Args:
        restore: (1, C, h, w) in [0, 1] to (1, C, h * scale, w * scale).
        scale: of it.
        identity: what names the restorer and its weights; profiles are comparable where it is equal.
        variance: the image to the variance of each restored value over samples; ``None`` for a network that has one
            answer.
        side: pixels of the square from the middle that is restored.
    """

    def __init__(
        self,
        *,
        restore: Callable[[Tensor], Tensor],
        scale: int,
        identity: str,
        variance: Callable[[Tensor], Tensor] | None = None,
        side: int = 128,
    ) -> None:
        self.restore, self.scale, self.identity, self.variance, self.side = restore, scale, identity, variance, side

    def settings(self) -> dict[str, Any]:
        """See ``measuring.Outputs``."""
        return {"restorer": self.identity, "scale": self.scale, "side": self.side}

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> dict[str, float]:
        """See ``measuring.Outputs``."""
        top, left = (max(length - self.side, 0) // 2 for length in pixels.shape[:2])
        low = to_tensor(pixels[top : top + self.side, left : left + self.side, :3])
        restored = to_uint8(self.restore(low))
        again = resize_bicubic(restored.float() / 255, size=(low.shape[2], low.shape[3]))
        values = {
            "consistency": min(float(psnr(again.clamp(0, 1), low)), LIMIT),
            "naturalness": naturalness(luma(as_levels(to_array(restored.float() / 255)))),
        }
        if self.variance is not None:
            values["variance"] = float(self.variance(low).mean().sqrt()) * 255
        return values
