"""JPEG as tensor arithmetic: what libjpeg computes, on any device, without waiting for it, and with a gradient.

Baseline JPEG with 4:2:0 chroma, the tables of ITU-T T.81 annex K scaled as libjpeg does, and its smooth chroma
upsampling. Entropy coding loses nothing and is left out. Every rounding is a real one whose gradient is passed straight
through; that is what sets it apart from DiffJPEG and kornia, where coefficients are rounded only softly. What is left
against libjpeg-turbo comes from its integer transforms.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import upload
from sr_lab.degradations.canvas import Canvas

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)

_HALF = 0.5001


def code_canvas(canvas: Canvas, quality: Tensor) -> Canvas:
    """Codes and decodes every sample.

    Args:
        canvas: 1 or 3 channels, values in [0, 1].
        quality: (B,) integers 1..100, on the same device.

    Returns:
        Values k/255.

    Raises:
        ValueError: if there are not 1 or 3 channels.
    """
    channels = canvas.pixels.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"jpg stores 1 or 3 channels, the image has {channels}: leave the codec out")
    height, width = canvas.pixels.shape[2:]
    levels = _round(canvas.extended(0, border="replicate", multiple=16).clamp(0, 1) * 255)
    tables = quantisation_tables(quality)
    if channels == 1:
        return canvas.with_pixels(_planes(levels, tables[:, :1])[:, :, :height, :width] / 255)
    red, green, blue = levels[:, 0:1], levels[:, 1:2], levels[:, 2:3]
    luma = _round(0.299 * red + 0.587 * green + 0.114 * blue)
    chroma = torch.cat(
        [
            _round(-0.168735892 * red - 0.331264108 * green + 0.5 * blue + 128),
            _round(0.5 * red - 0.418687589 * green - 0.081312411 * blue + 128),
        ],
        dim=1,
    ).clamp(0, 255)
    luma = _planes(luma, tables[:, :1])[:, :, :height, :width]
    halves = _halved(chroma)
    rows = np.stack([-(-canvas.sizes[:, 0] // 2), np.full(len(canvas.sizes), halves.shape[3])], axis=1)
    halves = Canvas(halves, rows).extended(0, border="replicate")  # libjpeg continues the halved rows, not the whole
    chroma = _planes(halves, tables[:, 1:])
    chroma = _doubled(Canvas(chroma, -(-canvas.sizes // 2)))[:, :, :height, :width] - 128
    cb, cr = chroma[:, 0:1], chroma[:, 1:2]
    rgb = torch.cat([luma + 1.402 * cr, luma - 0.344136286 * cb - 0.714136286 * cr, luma + 1.772 * cb], dim=1)
    return canvas.with_pixels(_round(rgb).clamp(0, 255) / 255)


def quantisation_tables(quality: Tensor) -> Tensor:
    """(B, 2, 8, 8): luma's and chroma's steps at each quality, as libjpeg scales them."""
    quality = quality.to(torch.float64)[:, None, None, None]
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    base = upload(np.array([LUMA_TABLE, CHROMA_TABLE], dtype=np.float64), quality.device)
    return ((base * percent + 50) / 100).floor().clamp(1, 255).float()


def _planes(levels: Tensor, tables: Tensor) -> Tensor:
    """(B, C, H, W) levels through transform, quantiser and back; (B, 1, 8, 8) steps."""
    batch, channels, height, width = levels.shape
    basis = upload(_dct(), levels.device)
    blocks = (levels - 128).reshape(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    steps = tables[:, :, None, None]
    coefficients = _quantised(basis @ blocks @ basis.T / steps) * steps
    blocks = basis.T @ coefficients @ basis
    return (_round(blocks.transpose(3, 4).reshape(levels.shape)) + 128).clamp(0, 255)


def _halved(chroma: Tensor) -> Tensor:
    """Means of 2x2, halves rounded down and up in turn, as libjpeg does."""
    total = torch.nn.functional.avg_pool2d(chroma, 2) * 4
    bias = torch.arange(total.shape[3], device=total.device) % 2 + 1
    mean = (total + bias) / 4
    return mean + (mean.floor() - mean).detach()


def _doubled(canvas: Canvas) -> Tensor:
    """Twice the size, each pixel 9/16 of the nearest, 3/16 of two and 1/16 of a fourth ("fancy upsampling")."""
    pixels = canvas.extended(1, border="replicate")
    for axis in (2, 3):
        length = pixels.shape[axis] - 2
        middle = pixels.narrow(axis, 1, length) * 3
        pair = torch.stack([middle + pixels.narrow(axis, 0, length), middle + pixels.narrow(axis, 2, length)], axis + 1)
        pixels = pair.flatten(axis, axis + 1)
    bias = 8.0 - torch.arange(pixels.shape[3], device=pixels.device) % 2
    mean = (pixels + bias) / 16
    return mean + (mean.floor() - mean).detach()


def _quantised(values: Tensor) -> Tensor:
    """Rounded, halves away from zero, as libjpeg does; they are frequent (a block's mean over an even step)."""
    rounded = (values + torch.copysign(torch.full((), _HALF), values)).trunc()
    return values + (rounded - values).detach() if values.requires_grad else rounded


def _round(values: Tensor) -> Tensor:
    """Rounded; the gradient passes."""
    return values + (values.round() - values).detach() if values.requires_grad else values.round()


@lru_cache(maxsize=1)
def _dct() -> npt.NDArray[np.float32]:
    """(8, 8) orthonormal DCT-II."""
    k, n = np.mgrid[0:8, 0:8]
    basis = np.cos((2 * n + 1) * k * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return np.asarray(basis, dtype=np.float32)
