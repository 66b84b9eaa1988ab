"""Consistency with the input: a restored image, degraded again, should be the image that it was made from."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from sr_lab.images import resize_bicubic, resize_bicubic_uint8, to_uint8
from sr_lab.images.precision import CONSISTENCY_LIMIT
from sr_lab.metrics.base import Context, ErrorMap, PerImageMetric
from sr_lab.metrics.psnr import psnr

LIMIT = CONSISTENCY_LIMIT
"""Decibels that a per-image value cannot exceed."""


class LRConsistency(PerImageMetric):
    """Mean per-image PSNR of the degraded restoration against the input, in decibels.

    The restored image is rounded to 8 bit, degraded by what made its input (the same operation, the same random
    draw), and compared with the input over all channels, without border crop. It tells whether the image *could* have
    been the original. It does not tell whether it was: detail that leaves no trace in the input costs nothing here
    (``Hallucination`` measures that), and a network for noisy inputs is marked down for not restoring the noise.

    A value is at most 60 dB, so that equal images stay finite and differences below the rounding of an 8-bit input
    do not count. Where the degradation is not known (low images that came with the benchmark, validation while
    training) MATLAB's bicubic is assumed: the original's own value, which reports give beside the mean, is then far
    below 60 dB where that assumption is wrong.

    Args:
        scale: Enlargement factor.
    """

    higher_is_better = True
    whole = True
    unit = "dB"
    digits = ".2f"
    definition: ClassVar[str] = (
        "PSNR over all channels between the input and the restored image, rounded to 8 bit and degraded again as its "
        "input was (same operation, same draw; MATLAB's bicubic where low images were given), at most 60 dB; of deep "
        "images rounded to 16 bit, at most 108 dB. More is better; it says nothing about detail that leaves no trace "
        "in the input."
    )

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale

    @property
    def key(self) -> str:
        """``lr_consistency``."""
        return "lr_consistency"

    @property
    def label(self) -> str:
        """LR consistency, for people."""
        return "LR consistency"

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) decibels against the bicubic low image of ``target``, where the input is not at hand."""
        return self.measure(restored, target, Context())

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """(B,) decibels, at most 60; of images of 16 bits at most 108."""
        limit = LIMIT + 20 * math.log10(context.levels / 255)
        return psnr(*self._pair(restored, target, context)).clamp(max=limit)

    def map_of(self, restored: Tensor, target: Tensor, context: Context) -> ErrorMap:
        """Mean absolute difference over the channels, at the input's size."""
        again, low = self._pair(restored, target, context)
        return ErrorMap("LR residual", (again - low).abs().mean(dim=1, keepdim=True), top=16 / 255)

    def _pair(self, restored: Tensor, target: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """The restored image degraded again, and the input."""
        degrade = context.degrade or self._bicubic
        low = degrade(target) if context.low is None else context.low
        if context.levels == 255:
            return degrade(to_uint8(restored).float() / 255), low.float()
        levels = restored.double().mul(context.levels).clamp(0, context.levels).add(0.5).floor()
        return degrade((levels / context.levels).float()), low.float()

    def _bicubic(self, image: Tensor) -> Tensor:
        """MATLAB's bicubic: bit for bit what files hold where the image is an 8-bit one."""
        rounded = to_uint8(image)
        if torch.allclose(rounded.float() / 255, image.float(), atol=1e-5):
            return resize_bicubic_uint8(rounded, scale=1 / self.scale).float() / 255
        return resize_bicubic(image.float(), scale=1 / self.scale)
