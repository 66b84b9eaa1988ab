"""How far an image is from the statistics of natural photos, without an original (NIQE).

Mittal, Soundararajan and Bovik 2013, doi:10.1109/LSP.2012.2227726: luma is divided by its local contrast, generalised
Gaussians are fitted to the values and to products of neighbours, in patches and at two scales, and the Gaussian of the
36 numbers is compared with that of photos. The photos here are BSDS400 (experiments/drift/fit_naturalness.py), so the
values are on NIQE's scale but not NIQE's own.
"""

from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load
from scipy.special import gamma

Array = NDArray[np.float64]
Plane = NDArray[np.float32]

MIN_SIDE = 32
"""Smallest side in pixels of an image that has a distance."""

_PATCH = 96
_SHAPES = np.arange(0.2, 10, 0.002)
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def naturalness(luma: Plane) -> float:
    """Distance from natural statistics; larger is less natural.

    Args:
        luma: (H, W) in [0, 255].

    Raises:
        ValueError: if a side is below ``MIN_SIDE``.
    """
    vectors = patch_statistics(luma)
    model = _photos()
    spread = np.cov(vectors.T) if len(vectors) > 1 else np.zeros_like(model["covariance"])
    offset = vectors.mean(0) - model["mean"]
    pooled = (model["covariance"] + spread) / 2
    return float(np.sqrt(max(offset @ np.linalg.pinv(pooled) @ offset, 0)))


def patch_statistics(luma: Plane) -> Array:
    """(P, 36) numbers of each patch of 96 x 96 pixels, or of the whole of a smaller image.

    Raises:
        ValueError: if a side is below ``MIN_SIDE``.
    """
    if min(luma.shape) < MIN_SIDE:
        raise ValueError(f"a {luma.shape[1]}x{luma.shape[0]} image is too small: it takes {MIN_SIDE} pixels a side")
    side = min(_PATCH, min(luma.shape) // 2 * 2)
    scales = []
    for factor in (1, 2):
        plane = luma if factor == 1 else cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        scales.append(
            [_statistics(patch) for patch in _patches(_normalised(plane), side // factor, luma.shape, factor)]
        )
    return np.concatenate(scales, axis=1)


def sharpness_of_patches(luma: Plane) -> Array:
    """(P,) mean local contrast of the patches of ``patch_statistics``."""
    side = min(_PATCH, min(luma.shape) // 2 * 2)
    return np.array([patch.mean() for patch in _patches(_contrast(luma)[1], side, luma.shape, 1)])


def _contrast(plane: Plane) -> tuple[Plane, Plane]:
    mean = cv2.GaussianBlur(plane, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    square = cv2.GaussianBlur(plane * plane, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    return mean, np.sqrt(np.abs(square - mean * mean))


def _normalised(plane: Plane) -> Plane:
    mean, deviation = _contrast(plane)
    return np.asarray((plane - mean) / (deviation + 1), np.float32)


def _patches(plane: Plane, side: int, whole: tuple[int, ...], factor: int) -> list[Plane]:
    rows, columns = (length // (side * factor) for length in whole[:2])
    return [
        plane[row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(rows)
        for column in range(columns)
    ]


def _statistics(patch: Plane) -> Array:
    shape, left, right = _asymmetric(patch)
    numbers = [shape, (left + right) / 2]
    for down, across in _NEIGHBOURS:
        moved = np.roll(patch, (down, across), axis=(0, 1))
        shape, left, right = _asymmetric(patch * moved)
        mean = (right - left) * gamma(2 / shape) / np.sqrt(gamma(1 / shape) * gamma(3 / shape))
        numbers += [shape, mean, left**2, right**2]
    return np.array(numbers)


def _asymmetric(values: Plane) -> tuple[float, float, float]:
    """Shape, left and right deviation of the asymmetric generalised Gaussian with the moments of the values."""
    squares = np.square(values, dtype=np.float64)
    below, above = values < 0, values > 0
    left = float(np.sqrt(squares[below].mean())) if below.any() else 1e-6
    right = float(np.sqrt(squares[above].mean())) if above.any() else 1e-6
    ratio = max(left, 1e-6) / max(right, 1e-6)
    moment = float(np.abs(values).mean()) ** 2 / max(float(squares.mean()), 1e-12)
    target = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return float(_SHAPES[np.abs(_RATIOS - target).argmin()]), left, right


@cache
def _photos() -> dict[str, Array]:
    stored: dict[str, Array] = load(files(__package__).joinpath("naturalness.safetensors").read_bytes())
    return stored
