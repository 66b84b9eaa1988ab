"""Whether a restored image, made small again, is its input; and how much it holds that its input cannot tell of.

Computed on arrays, on at most 16 windows of the image, so that an answer waits a millisecond for it and not for a copy
of the image as floats.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.images.precision import CONSISTENCY_LIMIT
from sr_lab.images.resize import bicubic_matrix

Pixels = npt.NDArray[Any]
_WINDOW, _MARGIN, _MOST = 64, 4, 16


@dataclass(frozen=True)
class Check:
    """A restored image beside its input.

    Attributes:
        decibels: PSNR of the image made small again by MATLAB's bicubic, against the input; at most 60, of
            16-bit images at most 108.
        energy: Share of the image's energy (without its mean) that is beyond what the input can hold: the part that
            is lost when the image is made small and large again.
    """

    decibels: float
    energy: float


def check(low: Pixels, restored: Pixels) -> Check:
    """Compares a restored image with its input.

    Args:
        low: (h, w, C), uint8 or uint16.
        restored: (h * scale, w * scale, C), the same type.
    """
    height, width = low.shape[:2]
    scale, top = restored.shape[0] // height, float(np.iinfo(low.dtype).max)
    error, count, lost, whole = 0.0, 0, 0.0, 0.0
    for rows in _windows(height):
        for columns in _windows(width):
            outer = tuple(_widened(part, length) for part, length in ((rows, height), (columns, width)))
            large = restored[tuple(slice(part.start * scale, part.stop * scale) for part in outer)].astype(np.float32)
            down = [_shrinking(part.stop - part.start, scale) for part in outer]
            up = [_growing(part.stop - part.start, scale) for part in outer]
            small = _apply(down[0], down[1], large)
            inner = tuple(
                slice(part.start - around.start, part.stop - around.start)
                for part, around in zip((rows, columns), outer, strict=True)
            )
            rounded = np.clip(np.floor(small[inner] + 0.5), 0, top)
            difference = (rounded - low[rows, columns].astype(np.float32)) / top
            error, count = error + float((difference * difference).sum(dtype=np.float64)), count + difference.size
            fine = tuple(slice(part.start * scale, part.stop * scale) for part in inner)
            rest = (large - _apply(up[0], up[1], small))[fine] / top
            lost += float((rest * rest).sum(dtype=np.float64))
            plain = large[fine] / top
            plain = plain - plain.mean(axis=(0, 1))
            whole += float((plain * plain).sum(dtype=np.float64))
    mean = error / max(1, count)
    limit = CONSISTENCY_LIMIT + 20 * math.log10(top / 255)
    decibels = limit if mean == 0 else min(limit, -10 * math.log10(mean))
    return Check(decibels=decibels, energy=lost / whole if whole > 0 else 0.0)


def _windows(length: int) -> list[slice]:
    """At most four windows along an axis, all of it where it is short."""
    size = min(_WINDOW, length)
    count = min(-(-length // size), math.isqrt(_MOST))
    starts = np.linspace(0, length - size, count).round().astype(int) if count > 1 else [0]
    parts, before = [], 0
    for start in starts:
        begin = max(before, int(start))
        parts.append(slice(begin, before := int(start) + size))
    return [part for part in parts if part.stop > part.start]


def _widened(part: slice, length: int) -> slice:
    return slice(max(0, part.start - _MARGIN), min(length, part.stop + _MARGIN))


def _apply(rows: Pixels, columns: Pixels, image: Pixels) -> Pixels:
    """Both axes of (H, W, C) by matrices."""
    across = np.tensordot(rows, image, axes=(1, 0))
    return np.ascontiguousarray(np.moveaxis(np.tensordot(columns, across, axes=(1, 1)), 0, 1))


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
