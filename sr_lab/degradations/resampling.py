"""Resampling by six kernels, on arrays and on canvases; one formula of the weights for both.

``area``, ``bilinear``, ``cubic`` and ``nearest`` are what OpenCV (and PyTorch, for the latter three) do: antialiased by
the area average only. ``bicubic`` is MATLAB's: antialiased, a = -0.5. ``lanczos`` is Pillow's: antialiased, 3 lobes.
"""

import math
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import upload
from sr_lab.degradations.canvas import Canvas, Sizes
from sr_lab.degradations.operation import Array, Size

Mode = Literal["area", "bilinear", "cubic", "bicubic", "lanczos", "nearest"]
MODES: tuple[Mode, ...] = ("area", "bilinear", "cubic", "bicubic", "lanczos", "nearest")
_OPENCV = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
_SUPPORT = {"area": 0.5, "bilinear": 1.0, "cubic": 2.0, "bicubic": 2.0, "lanczos": 3.0, "nearest": 0.5}
_ANTIALIASED = ("area", "bicubic", "lanczos")
_BLOCK = 24


def resize_array(image: Array, size: Size, *, mode: Mode) -> Array:
    """Resizes one image; cubic kinds may leave [0, 1].

    Args:
        image: (H, W, C) float32.
        size: (height, width) of the result.
        mode: see the module.

    Returns:
        (height, width, C) float32.
    """
    if image.shape[:2] == size:
        return image
    if mode in _OPENCV:
        resized = cv2.resize(image, (size[1], size[0]), interpolation=_OPENCV[mode])
        result: Array = resized.reshape(*size, image.shape[2])
        return result
    for axis in sorted((0, 1), key=lambda axis: size[axis] / image.shape[axis]):
        if size[axis] != image.shape[axis]:
            turned = image if axis == 0 else cv2.transpose(image).reshape(image.shape[1], image.shape[0], -1)
            turned = _multiplied(_blocks(turned.shape[0], size[axis], mode), turned)
            image = turned if axis == 0 else cv2.transpose(turned).reshape(turned.shape[1], turned.shape[0], -1)
    return image


def resize_canvas(canvas: Canvas, sizes: Sizes, modes: npt.NDArray[np.int64]) -> Canvas:
    """Resizes sample k to ``sizes[k]`` by ``MODES[modes[k]]``; equals ``resize_array`` up to 1e-4.

    Two matrix products for the whole batch, with a matrix of weights for each sample.
    """
    pixels = canvas.pixels
    inside = canvas.inside()
    pixels = torch.where(inside, pixels, torch.zeros((), device=pixels.device))
    for axis in (0, 1):
        matrices = _matrices(canvas.sizes[:, axis], sizes[:, axis], modes, pixels.shape[2 + axis], pixels.device)
        matrices = matrices[:, None]
        pixels = matrices @ pixels if axis == 0 else pixels @ matrices.transpose(-1, -2)
    return Canvas(pixels, sizes)


def weight(mode: Mode, distance: Tensor) -> Tensor:
    """Kernel at a distance from the output's centre, in pixels of the coarser grid; not normalised."""
    x = distance.abs()
    if mode == "bilinear":
        return (1 - x).clamp(min=0)
    if mode == "lanczos":
        return torch.where(x < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))
    a = -0.5 if mode == "bicubic" else -0.75
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))


def contributions(num_in: Tensor, num_out: Tensor, *, mode: Mode, taps: int, length: int) -> tuple[Tensor, Tensor]:
    """Input pixels and weights of each output pixel.

    Args:
        num_in: (B, 1, 1) lengths of the inputs, float64.
        num_out: (B, 1, 1) lengths of the outputs, float64.
        mode: the kernel.
        taps: number of input pixels considered.
        length: number of output pixels computed (the largest ``num_out``).

    Returns:
        int64 indices within the inputs and float64 weights that sum to 1, both (B, length, taps).
    """
    step = num_in / num_out
    index = torch.arange(length, device=num_in.device, dtype=torch.float64)[None, :, None]
    offsets = torch.arange(taps, device=num_in.device, dtype=torch.float64)
    if mode == "nearest":
        position = (index * step + 1e-9).floor() + offsets
        weights = (offsets == 0).to(torch.float64).expand(position.shape)
    elif mode == "area":
        start = index * step
        position = (start + 1e-9).floor() + offsets
        overlap = torch.minimum(position + 1, start + step) - torch.maximum(position, start)
        weights = overlap.clamp(min=0) * (position < num_in)
    else:
        stretch = step.clamp(min=1) if mode in _ANTIALIASED else torch.ones_like(step)
        centre = (index + 0.5) * step - 0.5
        position = (centre - _SUPPORT[mode] * stretch).floor() + offsets
        weights = weight(mode, (position - centre) / stretch)
        if mode == "lanczos":
            weights = weights * ((position >= 0) & (position < num_in))
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    if mode == "bicubic":
        mirrored = position.remainder(2 * num_in)
        position = torch.minimum(mirrored, 2 * num_in - 1 - mirrored)
    return position.clamp(min=0).minimum(num_in - 1).long(), weights


def taps_for(mode: Mode, step: float) -> int:
    """Input pixels that an output pixel can depend on, where ``step`` input pixels make an output pixel."""
    stretch = max(step, 1.0) if mode in _ANTIALIASED else 1.0
    return math.ceil(2 * _SUPPORT[mode] * stretch) + 2


def _matrices(
    num_in: npt.NDArray[np.int64],
    num_out: npt.NDArray[np.int64],
    modes: npt.NDArray[np.int64],
    width: int,
    device: torch.device,
) -> Tensor:
    """(B, largest num_out, width) float32 weights."""
    length = int(num_out.max())
    out = torch.zeros(len(num_in), length, width, device=device)
    for code in sorted(set(modes.tolist())):
        rows = np.flatnonzero(modes == code)
        mode = MODES[code]
        before = upload(num_in[rows].astype(np.float64), device)[:, None, None]
        after = upload(num_out[rows].astype(np.float64), device)[:, None, None]
        taps = taps_for(mode, float((num_in[rows] / num_out[rows]).max()))
        index, weights = contributions(before, after, mode=mode, taps=taps, length=length)
        part = torch.zeros(len(rows), length, width, device=device).scatter_add_(2, index, weights.float())
        out.index_copy_(0, upload(rows, device), part)
    return out


def _multiplied(blocks: tuple[tuple[int, int, Tensor], ...], image: Array) -> Array:
    """Product of a banded matrix with the rows of (H, W, C)."""
    rows = torch.from_numpy(image).reshape(len(image), -1)
    parts = [matrix @ rows[first:last] for first, last, matrix in blocks]
    return torch.cat(parts).numpy().reshape(-1, *image.shape[1:])


@lru_cache(maxsize=512)
def _blocks(num_in: int, num_out: int, mode: Mode) -> tuple[tuple[int, int, Tensor], ...]:
    """The matrix of one axis by blocks of rows: first and last input row that a block needs, and its weights."""
    sizes = np.array([[num_in], [num_out]])
    matrix = _matrices(sizes[0], sizes[1], np.array([MODES.index(mode)]), num_in, torch.device("cpu"))[0]
    blocks = []
    for part in torch.split(matrix, _BLOCK):
        used = np.flatnonzero(part.numpy().any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        blocks.append((first, last, part[:, first:last].contiguous()))
    return tuple(blocks)
