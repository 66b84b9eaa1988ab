"""Colour profiles: values converted to sRGB where a format cannot hold the profile that they are meant in."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

_ROWS = 256


def to_srgb(pixels: npt.NDArray[Any], icc: bytes, *, alpha: bool = False) -> bool:
    """Converts 8-bit RGB values to sRGB, in place, relative colorimetric.

    Args:
        pixels: (H, W, C), with ``alpha`` the last channel being transparency.
        icc: The profile in which the values are meant.
        alpha: Whether there is transparency.

    Returns:
        Whether it could: grey, 16-bit and many-band images, and those of a broken profile, stay as they are.
    """
    if pixels.dtype != np.uint8 or pixels.shape[2] - alpha != 3:
        return False
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        change = ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
    except (ImageCms.PyCMSError, OSError, TypeError):
        return False
    for top in range(0, len(pixels), _ROWS):
        part = pixels[top : top + _ROWS]
        colours = Image.fromarray(np.ascontiguousarray(part[:, :, :3]))
        part[:, :, :3] = np.asarray(ImageCms.applyTransform(colours, change))
    return True
