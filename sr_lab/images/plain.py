"""Images as plain arrays: levels, luma and enlargement with numpy alone, where nothing else is loaded.

``srlab restore`` by an engine, and the one file of an exported bundle, compute by these functions: the bundle's file
holds their text. float32 (C, h, w) or (1, C, h, w), values in [0, 1].
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

BLOCK = 16
"""Pixels that are enlarged by one product of matrices."""


def as_float(image: Any) -> Any:
    """(h, w, C) of levels as (C, h, w) in [0, 1]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def as_levels(image: Any, dtype: Any) -> Any:
    """(C, h, w) in [0, 1] as (h, w, C) of levels, halves up."""
    most = np.iinfo(dtype).max
    wide = image * np.float32(most) if most == 255 else image.astype(np.float64) * most
    np.clip(wide, 0, most, out=wide)
    wide += wide.dtype.type(0.5)
    return np.ascontiguousarray(wide.astype(dtype).transpose(1, 2, 0))


def luma(image: Any) -> Any:
    """(1, 3, h, w) as the luma of BT.601 in studio range, as MATLAB's rgb2ycbcr computes it."""
    one, two, three = (np.float32(weight / 255) for weight in (65.481, 128.553, 24.966))
    return image[:, 0:1] * one + image[:, 1:2] * two + image[:, 2:3] * three + np.float32(16 / 255)


def bicubic(image: Any, scale: int) -> Any:
    """(1, C, h, w) enlarged as MATLAB's imresize does it: cubic convolution with a = -0.5, mirrored borders."""
    rows, columns = cubic_block(scale), cubic_block(scale).T
    height, width = image.shape[2:]
    padded = np.pad(image[0], ((0, 0), (2, 2 + -height % BLOCK), (2, 2 + -width % BLOCK)), mode="symmetric")
    tall = np.empty((padded.shape[0], height * scale, padded.shape[2]), np.float32)
    for top in range(0, height, BLOCK):
        part = tall[:, top * scale : (top + BLOCK) * scale]
        part[:] = (rows @ padded[:, top : top + BLOCK + 4])[:, : part.shape[1]]
    large = np.empty((*tall.shape[:2], width * scale), np.float32)
    for left in range(0, width, BLOCK):
        part = large[:, :, left * scale : (left + BLOCK) * scale]
        part[:] = (tall[:, :, left : left + BLOCK + 4] @ columns)[:, :, : part.shape[2]]
    return large[None]


@lru_cache(maxsize=8)
def cubic_block(scale: int) -> Any:
    """What makes BLOCK * scale pixels of BLOCK ones and two more on each side."""
    centre = (np.arange(BLOCK * scale) + 0.5) / scale + 1.5
    away = np.abs(centre[:, None] - np.arange(BLOCK + 4))
    weights = np.where(
        away <= 1,
        (1.5 * away - 2.5) * away * away + 1,
        np.where(away <= 2, ((-0.5 * away + 2.5) * away - 4) * away + 2, 0.0),
    )
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def by_channels(low: Any, channels: int, scale: int, run: Callable[[Any], Any]) -> Any:
    """A window (1, C, h, w), C 1 or 3, restored by a graph of 1 or 3 channels.

    Grey goes through a graph for colours as three equal channels, whose mean is taken; of colours a graph for luma
    restores the luma, and the differences of colour are enlarged by bicubic interpolation.
    """
    given = low.shape[1]
    if given == channels:
        return run(low)
    if given == 1 and channels == 3:
        return run(np.repeat(low, 3, axis=1)).mean(axis=1, keepdims=True, dtype=np.float32)
    if given == 3 and channels == 1:
        restored = bicubic(low, scale)
        gain = run(luma(low)) - luma(restored)
        gain *= np.float32(255 / 219)
        restored += gain
        return restored
    raise ValueError(f"the network restores {channels} channel{'s' * (channels != 1)}, the image has {given}")
