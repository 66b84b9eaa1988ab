"""Between arrays and tensors, RGB to luma, and crops."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Y_WEIGHTS = (65.481 / 255, 128.553 / 255, 24.966 / 255)
Y_OFFSET = 16 / 255


def to_tensor(image: npt.NDArray[Any]) -> Tensor:
    """Array to image tensor: uint8 is divided by 255, uint16 by 65535.

    Args:
        image: (H, W, C) or (H, W), uint8 or uint16.

    Returns:
        (1, C, H, W), float32, values in [0, 1].

    Raises:
        ValueError: for another shape or type.
    """
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"to_tensor needs an (H, W, C) array of uint8 or uint16, got {image.shape} {image.dtype}")
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))[None]
    return torch.from_numpy(planes).to(torch.float32).div_(np.iinfo(image.dtype).max)


def to_uint8(image: Tensor) -> Tensor:
    """Quantise to 8 bits: clamped to [0, 1], rounded to the nearest of 256 levels, halves up as MATLAB does.

    Args:
        image: any shape, floating point, nominally [0, 1].

    Returns:
        Same shape, uint8.

    Raises:
        ValueError: if the image is not floating point.
    """
    if not image.is_floating_point():
        raise ValueError(f"to_uint8 needs a floating-point image in [0, 1], got {image.dtype}")
    wide = image if image.dtype == torch.float64 else image.float()
    return wide.mul(255).clamp_(0, 255).add_(0.5).to(torch.uint8)


def to_array(image: Tensor) -> npt.NDArray[np.uint8]:
    """Image tensor to the 8-bit array that is written to a file or shown.

    Args:
        image: (1, C, H, W) or (C, H, W), floating point in [0, 1] (rounded as :func:`to_uint8` does) or uint8.

    Returns:
        (H, W, C), uint8, contiguous.

    Raises:
        ValueError: for a batch of several images, or another shape or type.
    """
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3:
        raise ValueError(f"to_array needs one image, (1, C, H, W) or (C, H, W), got {tuple(image.shape)}")
    levels = image if image.dtype == torch.uint8 else to_uint8(image.detach())
    upright = levels.permute(1, 2, 0)
    if len(levels) == 1 or upright.is_contiguous():
        array: npt.NDArray[np.uint8] = upright.contiguous().cpu().numpy()
        return array
    return np.asarray(cv2.merge(list(levels.contiguous().cpu().numpy())))  # as contiguous(), in a tenth of its time


def to_levels(image: Tensor, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """(1, C, H, W) in [0, 1] as (H, W, C), rounded to the levels of uint8 or uint16."""
    if dtype == np.uint8:
        return to_array(image)
    levels = image[0].to(torch.float64).mul(65535).clamp(0, 65535).add(0.5).permute(1, 2, 0)
    return levels.numpy().astype(np.uint16)


def rgb_to_y(image: Tensor) -> Tensor:
    """Luma of BT.601 in studio range, as MATLAB's ``rgb2ycbcr`` computes it, but not rounded.

    Args:
        image: (B, 3, H, W), floating point in [0, 1]; or (B, 1, H, W), which is already a luma.

    Returns:
        (B, 1, H, W), in [16/255, 235/255]; a single-channel image is returned unchanged, because the literature scores
        grey images directly.

    Raises:
        ValueError: if the image has neither 1 nor 3 channels, or is not floating point.
    """
    if image.ndim != 4 or image.shape[1] not in (1, 3) or not image.is_floating_point():
        raise ValueError(
            f"rgb_to_y needs a floating-point (B, 3, H, W) or (B, 1, H, W) image, got {tuple(image.shape)} "
            f"{image.dtype}; score images of other channel counts with an RGB protocol"
        )
    if image.shape[1] == 1:
        return image
    red, green, blue = image.unbind(1)
    luma = red * Y_WEIGHTS[0] + green * Y_WEIGHTS[1] + blue * Y_WEIGHTS[2] + Y_OFFSET
    return luma.unsqueeze(1)


def crop_border(image: Tensor, border: int) -> Tensor:
    """Cut ``border`` pixels from each of the four edges.

    Args:
        image: (..., H, W).
        border: pixels, at least 0.

    Returns:
        (..., H - 2 border, W - 2 border), a view.

    Raises:
        ValueError: if ``border`` is negative or leaves no pixel.
    """
    height, width = image.shape[-2:]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(
            f"border={border} leaves nothing of an image of {height}x{width} pixels; it must be in [0, "
            f"{max(0, (min(height, width) - 1) // 2)}]"
        )
    return image[..., border : height - border, border : width - border]


def crop_to_multiple(image: Tensor, scale: int) -> Tensor:
    """Cut rows at the bottom and columns on the right until both lengths are multiples of ``scale`` ("modcrop").

    Args:
        image: (..., H, W).
        scale: positive.

    Returns:
        (..., H - H % scale, W - W % scale), a view.

    Raises:
        ValueError: if ``scale`` is not positive or the image is smaller than that.
    """
    height, width = image.shape[-2:]
    if scale < 1 or scale > min(height, width):
        raise ValueError(f"scale={scale} must be in [1, {min(height, width)}] for an image of {height}x{width} pixels")
    return image[..., : height - height % scale, : width - width % scale]
