"""The planes that the estimators look at: luma, chroma and their 8x8 DCT."""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

MIN_SIDE = 24
"""Smallest height and width, in pixels, from which anything is estimated."""

_U, _X = np.mgrid[0:8, 0:8]
_ROWS = np.cos((2 * _X + 1) * _U * np.pi / 16) * np.where(_U == 0, np.sqrt(1 / 8), 0.5)
_DCT: Floats = np.kron(_ROWS, _ROWS).T.astype(np.float32)


def as_levels(image: Pixels) -> Floats:
    """(H, W) or (H, W, C) uint8 or uint16 to (H, W, 3) float32 in 8-bit levels [0, 255].

    Grey is repeated; of four bands or more the first three are taken.

    Raises:
        ValueError: if the type or the shape is another, or a side is below ``MIN_SIDE``.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"image has dtype {image.dtype}: give uint8 or uint16 (images.read_image does)")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3:
        raise ValueError(f"image has shape {image.shape}: give (H, W) or (H, W, C)")
    if min(image.shape[:2]) < MIN_SIDE:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ValueError(f"a {size} image is too small to estimate from: it takes {MIN_SIDE} pixels a side")
    levels = image.astype(np.float32)
    if image.dtype == np.uint16:
        levels /= 257
    if levels.shape[2] < 3:
        return np.repeat(levels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(levels[:, :, :3])


def luma(levels: Floats) -> Floats:
    """(H, W, 3) RGB to (H, W) JPEG luma, both in [0, 255]."""
    plane: Floats = cv2.transform(levels, np.array([[0.299, 0.587, 0.114]], np.float32))
    return plane


def extremes(levels: Floats) -> tuple[Floats, Floats]:
    """Smallest and largest channel of (H, W, 3): two (H, W)."""
    red, green, blue = cv2.split(levels)
    low: Floats = cv2.min(cv2.min(red, green), blue)
    high: Floats = cv2.max(cv2.max(red, green), blue)
    return low, high


def chroma(levels: Floats) -> Floats:
    """(H, W, 3) RGB in [0, 255] to (H, W, 2) JPEG Cb, Cr, centred at 0."""
    matrix = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
    planes: Floats = cv2.transform(levels, matrix)
    return planes


def blocks(plane: Floats, *, top: int = 0, left: int = 0) -> Floats:
    """The whole 8x8 blocks of (H, W), the first at (top, left): (N, 8, 8), rows of blocks first."""
    rows, columns = (plane.shape[0] - top) // 8, (plane.shape[1] - left) // 8
    whole = plane[top : top + rows * 8, left : left + columns * 8]
    return whole.reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)


def dct(cut: Floats) -> Floats:
    """Orthonormal type II DCT, as JPEG has it: white noise keeps its sigma in every coefficient.

    (N, 8, 8) blocks to (N, 64) coefficients, row of the frequency first.
    """
    return cut.reshape(-1, 64) @ _DCT
