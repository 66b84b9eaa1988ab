"""Images in the forms in which a caller may have them: a file, an array, a tensor."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sr_lab.images.colour import to_levels, to_tensor
from sr_lab.images.files import read_image

Image = npt.NDArray[Any] | Tensor | Path | str
"""A file's path; an array (H, W, C) or (H, W) of uint8 or uint16; a tensor (C, H, W) or (B, C, H, W) in [0, 1]."""


def has_deep_levels(pixels: npt.NDArray[Any]) -> bool:
    """Whether 8 bits would not hold these levels; a 16-bit file may hold an 8-bit image (multiples of 257).

    >>> has_deep_levels(np.array([257, 514], np.uint16)), has_deep_levels(np.array([256], np.uint16))
    (False, True)
    """
    return bool(pixels.dtype == np.uint16 and (pixels % 257).any())


def as_tensor(image: Image) -> Tensor:
    """An image in any form as the tensor that the house works on.

    Args:
        image: A path, an array (H, W, C) or (H, W) of uint8 or uint16, or a tensor (C, H, W) or (B, C, H, W), whose
            values lie in [0, 1].

    Returns:
        (B, C, H, W), floating point, values in [0, 1].

    Raises:
        ImageError: If the file cannot be read.
        ValueError: If the array or tensor has another shape or type.

    Example:
        >>> import numpy as np
        >>> as_tensor(np.full((4, 6, 3), 255, np.uint8)).shape
        torch.Size([1, 3, 4, 6])
    """
    if isinstance(image, str | Path):
        return to_tensor(read_image(image))
    if isinstance(image, np.ndarray):
        with contextlib.suppress(ValueError):  # which is said below, for every form
            return to_tensor(image)
    if not isinstance(image, Tensor) or image.ndim not in (3, 4) or not image.is_floating_point():
        raise ValueError(
            f"an image is a path, an array (H, W, C) of uint8 or uint16, or a float tensor (C, H, W) or (B, C, H, W) "
            f"with values in [0, 1]; this is {_described(image)}"
        )
    return image if image.ndim == 4 else image[None]


def _described(image: object) -> str:
    """What it is instead, and how it becomes an image."""
    if isinstance(image, Tensor):
        return f"a tensor {tuple(image.shape)} of {image.dtype}"
    if not isinstance(image, np.ndarray):
        remedy = ": give np.asarray(image)" if hasattr(image, "__array_interface__") else ""  # PIL's
        return f"of type {type(image).__name__}{remedy}"
    remedy = ": give (255 * image).round().astype(np.uint8)" if image.dtype.kind == "f" and image.ndim in (2, 3) else ""
    return f"an array {image.shape} of {image.dtype}{remedy}"


def in_the_form_of(result: Tensor, image: Image) -> npt.NDArray[Any] | Tensor:
    """A result in the form of the image that it was made from.

    Args:
        result: (B, C, H, W), values near [0, 1].
        image: What ``as_tensor`` was given; a path counts as the array in its file.

    Returns:
        For a tensor a tensor with as many dimensions; else an array (H, W, C), clipped and rounded to the levels of
        the image's own type: uint8 or uint16.
    """
    if isinstance(image, Tensor):
        return result if image.ndim == 4 else result[0]
    dtype = image.dtype if isinstance(image, np.ndarray) else read_image(image).dtype
    return to_levels(result.cpu(), dtype)
