"""The check that every metric makes of its two images."""

import torch
from torch import Tensor

from sr_lab.images import crop_border


def checked_pair(restored: Tensor, target: Tensor, *, border: int) -> tuple[Tensor, Tensor]:
    """The two images without their borders, in float32 or, where one of them is, in float64.

    Args:
        restored: (B, C, H, W), floating point.
        target: same shape.
        border: pixels to drop at each edge.

    Raises:
        ValueError: if the shapes differ or are not (B, C, H, W), an image is not floating point, or ``border``
            leaves no pixel.
    """
    if restored.shape != target.shape or restored.ndim != 4:
        raise ValueError(
            f"restored {tuple(restored.shape)} and target {tuple(target.shape)} must both be (B, C, H, W) of one size"
        )
    for name, image in (("restored", restored), ("target", target)):
        if not image.is_floating_point():
            raise ValueError(f"{name} is {image.dtype}: metrics take floating point images with values in [0, 1]")
    height, width = restored.shape[-2:]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(f"border={border} leaves nothing of a {height}x{width} image")
    dtype = torch.promote_types(torch.promote_types(restored.dtype, target.dtype), torch.float32)
    return crop_border(restored, border).to(dtype), crop_border(target, border).to(dtype)
