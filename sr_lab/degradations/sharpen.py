"""Unsharp masking: the sharpened target of Real-ESRGAN."""

import cv2
import numpy as np
import torch

from sr_lab.base.randomness import upload
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size


def unsharp_mask(image: Array, *, weight: float = 0.5, radius: int = 51, threshold: float = 10.0) -> Array:
    """Adds the difference to a Gaussian blur where it is large, with a blurred mask.

    Args:
        image: (H, W, C) in [0, 1].
        weight: of the difference.
        radius: odd size of the Gaussian, whose sigma is .3 ((radius - 1) / 2 - 1) + .8.
        threshold: in levels of 0..255, of the difference.

    Returns:
        (H, W, C) in [0, 1].
    """
    residual = cv2.subtract(image, cv2.GaussianBlur(image, (radius, radius), 0).reshape(image.shape)).reshape(
        image.shape
    )
    mask = (np.abs(residual) > np.float32(threshold / 255)).astype(np.float32)
    soft = cv2.GaussianBlur(mask, (radius, radius), 0).reshape(image.shape)
    residual *= np.float32(weight)
    residual += image
    np.clip(residual, 0, 1, out=residual)
    residual -= image
    residual *= soft
    residual += image
    result: Array = residual
    return result


class Sharpen(Operation):
    """Unsharp mask; as ``target`` of a pipeline it sharpens what the network is trained towards.

    Args:
        weight: Weight of the detail that is added.
        radius: Odd size of the Gaussian, in pixels.
        threshold: Smallest difference that is sharpened, in levels of 0..255.
        probability: Probability that a sample is sharpened.
    """

    def __init__(
        self, *, weight: float = 0.5, radius: int = 51, threshold: float = 10.0, probability: float = 1.0
    ) -> None:
        super().__init__(probability=probability)
        if radius < 3 or radius % 2 == 0:
            raise ValueError(f"radius={radius}: must be odd and at least 3")
        if not 0 <= threshold <= 255:
            raise ValueError(f"threshold={threshold}: must lie in 0..255")
        self.weight, self.radius, self.threshold = weight, radius, threshold

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) sharpened."""
        return unsharp_mask(image, weight=self.weight, radius=self.radius, threshold=self.threshold)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch sharpened; equals ``degrade`` up to rounding, but where a difference meets the threshold."""
        pixels = canvas.pixels
        residual = pixels - self._blurred(canvas)
        mask = (residual.abs() > self.threshold / 255).to(pixels.dtype)
        soft = self._blurred(canvas.with_pixels(mask))
        sharp = (residual * self.weight + pixels).clamp(0, 1)
        return canvas.with_pixels((sharp - pixels) * soft + pixels)

    def _blurred(self, canvas: Canvas) -> torch.Tensor:
        window = cv2.getGaussianKernel(self.radius, 0, cv2.CV_32F)[:, 0]
        taps = upload(window, canvas.pixels.device)
        ext = canvas.extended(self.radius // 2, border="reflect")
        flat = ext.reshape(-1, 1, *ext.shape[2:])
        flat = torch.nn.functional.conv2d(flat, taps.reshape(1, 1, -1, 1))
        flat = torch.nn.functional.conv2d(flat, taps.reshape(1, 1, 1, -1))
        return flat.reshape(canvas.pixels.shape)
