"""Images: files, tensors, colour, crops and MATLAB's bicubic.

Inside the project an image is a float32 RGB tensor (B, C, H, W) with values in [0, 1]; arrays (H, W, C) of uint8 or
uint16 exist only at the edge, in :mod:`sr_lab.images.files`. Names are looked up when they are
first used: what reads and writes files loads no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sr_lab.images.colour import crop_border, crop_to_multiple, rgb_to_y, to_array, to_levels, to_tensor, to_uint8
    from sr_lab.images.files import read_image, write_image
    from sr_lab.images.folders import IMAGE_SUFFIXES, list_images
    from sr_lab.images.headers import ImageError
    from sr_lab.images.precision import full_precision
    from sr_lab.images.resize import resize_bicubic, resize_bicubic_uint8

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageError",
    "crop_border",
    "crop_to_multiple",
    "full_precision",
    "list_images",
    "read_image",
    "resize_bicubic",
    "resize_bicubic_uint8",
    "rgb_to_y",
    "to_array",
    "to_levels",
    "to_tensor",
    "to_uint8",
    "write_image",
]

_HOMES = {
    "crop_border": "colour",
    "crop_to_multiple": "colour",
    "rgb_to_y": "colour",
    "to_array": "colour",
    "to_levels": "colour",
    "to_tensor": "colour",
    "to_uint8": "colour",
    "read_image": "files",
    "write_image": "files",
    "IMAGE_SUFFIXES": "folders",
    "list_images": "folders",
    "ImageError": "headers",
    "full_precision": "precision",
    "resize_bicubic": "resize",
    "resize_bicubic_uint8": "resize",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
