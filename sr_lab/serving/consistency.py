"""Whether a restored image, made small again, is its input; and how much it holds that its input cannot tell of.

Computed on arrays, on a few windows of the image, so that an answer waits some milliseconds for it and not for a copy
of the image as floats: on 4, or on 16 where a guard acts on what is found.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sr_lab.images.precision import CONSISTENCY_LIMIT
from sr_lab.images.resize import bicubic_matrix

Pixels = npt.NDArray[Any]
_WINDOW, _MARGIN = 64, 4


@dataclass(frozen=True)
class Check:
    """A restored image beside its input.

    Attributes:
        decibels: PSNR of the image made small again by MATLAB's bicubic, against the input; at most 60, of
            16-bit images at most 108.
        energy: Share of the image's energy (without its mean) that is beyond what the input can hold: the part that
            is lost when the image is made small and large again; NaN where nobody asked.
    """

    decibels: float
    energy: float


def check(low: Pixels, restored: Pixels, *, num_windows: int = 16, energy: bool = True) -> Check:
    """Compares a restored image with its input.

    Args:
        low: (h, w, C), uint8 or uint16.
        restored: (h * scale, w * scale, C), the same type.
        num_windows: Most windows of 64x64 low pixels that are looked at, spread over the image: a square number.
        energy: Whether the energy is asked for; it is more than half of the work.
    """
    height, width = low.shape[:2]
    scale, top = restored.shape[0] // height, float(np.iinfo(low.dtype).max)
    error, count, lost, whole, most = 0.0, 0, 0.0, 0.0, math.isqrt(num_windows)
    for rows in _windows(height, most):
        for columns in _windows(width, most):
            outer = tuple(_widened(part, length) for part, length in ((rows, height), (columns, width)))
            large = _floats(restored, [slice(part.start * scale, part.stop * scale) for part in outer])
            tall, wide = (part.stop - part.start for part in outer)
            small = _apply(_shrinking(tall, scale), _shrinking(wide, scale), large)
            inner = [
                slice(part.start - around.start, part.stop - around.start)
                for part, around in zip((rows, columns), outer, strict=True)
            ]
            rounded = np.clip(np.rint(small[tuple(inner)]), 0, top)
            error += float(cv2.norm(rounded, _floats(low, (rows, columns)), cv2.NORM_L2SQR))
            count += rounded.size
            if not energy:
                continue
            again = _apply(_growing(tall, scale), _growing(wide, scale), small)
            fine = tuple(slice(part.start * scale, part.stop * scale) for part in inner)
            lost += float(cv2.norm(large[fine], again[fine], cv2.NORM_L2SQR))
            whole += float(np.square(cv2.meanStdDev(large[fine])[1]).sum()) * (large[fine].size // large.shape[2])
    mean = error / max(1, count) / top**2
    limit = CONSISTENCY_LIMIT + 20 * math.log10(top / 255)
    decibels = limit if mean == 0 else min(limit, -10 * math.log10(mean))
    share = lost / whole if whole > 0 else 0.0
    return Check(decibels=decibels, energy=share if energy else math.nan)


def _windows(length: int, most: int) -> list[slice]:
    """At most so many windows along an axis, all of it where it is short."""
    size = min(_WINDOW, length)
    count = min(-(-length // size), most)
    starts = np.linspace(0, length - size, count).round().astype(int) if count > 1 else [(length - size) // 2]
    parts, before = [], 0
    for start in starts:
        begin = max(before, int(start))
        parts.append(slice(begin, before := int(start) + size))
    return [part for part in parts if part.stop > part.start]


def _widened(part: slice, length: int) -> slice:
    return slice(max(0, part.start - _MARGIN), min(length, part.stop + _MARGIN))


def _floats(image: Pixels, place: Sequence[slice]) -> Pixels:
    """A part of (H, W, C), as float32; a copy."""
    return np.ascontiguousarray(image[tuple(place)], np.float32)


def _apply(rows: Pixels, columns: Pixels, image: Pixels) -> Pixels:
    """Both axes of (H, W, C) by matrices."""
    for matrix in (rows, columns):
        product = matrix @ image.reshape(len(image), -1)
        image = cv2.transpose(product.reshape(len(matrix), -1, image.shape[2]))
        image = image.reshape(*image.shape[:2], -1)  # OpenCV forgets an axis of one channel
    return image


def _shrinking(length: int, scale: int) -> Pixels:
    """(length, length * scale): MATLAB's bicubic along one axis, as a matrix."""
    return _matrix(length * scale, length)


def _growing(length: int, scale: int) -> Pixels:
    """(length * scale, length)."""
    return _matrix(length, length * scale)


@functools.lru_cache(64)
def _matrix(length: int, made: int) -> Pixels:
    rows, columns, values = bicubic_matrix(length, made)
    matrix = np.zeros((made, length))
    np.add.at(matrix, (rows, columns), values)
    return matrix.astype(np.float32)
