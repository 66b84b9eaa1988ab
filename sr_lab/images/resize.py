"""Bicubic resampling as MATLAB's ``imresize`` does it: a float mode to train through, and the exact 8-bit recipe.

Both are a banded matrix along each axis, applied as small dense blocks. The weights are computed once in float64 and
kept for each pair of lengths. No convolution or interpolation of torch is used: those compute their weights in
float32, or treat the border in another way, and differ from MATLAB by up to 11 of 255 levels.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sr_lab.images.banded import Block, FloatArray, IndexArray, cut_rows, multiply

Border = Literal["symmetric", "replicate"]


@dataclass(frozen=True, eq=False)
class _Band:
    """One axis of a resize: the banded matrix, its transpose (for gradients), and what its weights are divided by."""

    blocks: tuple[Block, ...]
    transposed: tuple[Block, ...]
    divisor: float


def resize_bicubic(
    image: Tensor,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "symmetric",
) -> Tensor:
    """Resize by MATLAB's bicubic kernel (a = -0.5), antialiased when shrinking; nothing is rounded or clamped.

    Linear in the image and differentiable to any order. Computed in float32 (float64 for float64 images, and where
    autocast or a reduced matmul precision would degrade it); half and bfloat16 images are rounded once, at the end.

    Args:
        image: (B, C, H, W), floating point, any range.
        scale: factor for both axes; the output has ``ceil(scale * length)`` pixels, as in MATLAB.
        size: (height, width) of the output, instead of ``scale``; the factors are then the ratios of the lengths.
        border: what lies beyond the edge: mirrored pixels (MATLAB's documented way), or the last pixel repeated.

    Returns:
        (B, C, height, width), dtype and device of the image. Values may leave the range of the input.

    Raises:
        ValueError: if the image is not a floating-point (B, C, H, W), or scale and size do not describe an output.
    """
    if image.ndim != 4 or not image.is_floating_point():
        raise ValueError(
            f"resize_bicubic needs a floating-point (B, C, H, W) image, got {tuple(image.shape)} {image.dtype}; "
            "use to_tensor for arrays, or resize_bicubic_uint8 for 8-bit images"
        )
    if border not in ("symmetric", "replicate"):
        raise ValueError(f"border={border!r} is not known; use 'symmetric' or 'replicate'")
    restored = image if image.dtype == torch.float64 else image.float()
    for axis, num_out, factor in _passes(image, scale, size):
        restored = _passed(restored, axis, image.shape[axis], num_out, factor, border)
    return restored.to(image.dtype)


def resize_bicubic_uint8(image: Tensor, *, scale: float | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """Resize an 8-bit image as MATLAB's ``imresize`` does it, bit for bit.

    The recipe: float64 weights, the axis that shrinks most first (the rows, where both are equal), rounding to uint8
    after each pass, the last pixel repeated beyond the edge. Where all weights are fractions with a small common
    denominator (factors 2, 3, 4, 5, 7 and their inverses), the sums are taken over integers in float32, which is exact:
    the result is the same on every device and in every order of summation.

    Args:
        image: (B, C, H, W), uint8.
        scale: as in :func:`resize_bicubic`.
        size: as in :func:`resize_bicubic`.

    Returns:
        (B, C, height, width), uint8, on the device of the image.

    Raises:
        ValueError: if the image is not a uint8 (B, C, H, W), or scale and size do not describe an output.
    """
    if image.ndim != 4 or image.dtype != torch.uint8:
        raise ValueError(
            f"resize_bicubic_uint8 needs a uint8 (B, C, H, W) image, got {tuple(image.shape)} {image.dtype}; "
            "use to_uint8 first, or resize_bicubic for float images"
        )
    narrow = torch.float64 if _is_reduced(image.device) else torch.float32
    restored = image
    for axis, num_out, factor in _passes(image, scale, size):
        num_in = image.shape[axis]
        band = band_of(num_in, num_out, factor, "replicate", True, narrow, image.device)
        dtype = band.blocks[0].matrix.dtype
        restored = multiply(restored.to(dtype), band.blocks, axis)
        if band.divisor != 1:
            restored = restored.div_(band.divisor)
        restored = restored.add_(0.5).floor_().clamp_(0, 255)
    return restored.to(torch.uint8)


def bicubic_matrix(num_in: int, num_out: int) -> tuple[IndexArray, IndexArray, FloatArray]:
    """The matrix that :func:`resize_bicubic` multiplies an axis with, mirrored at its border: its entries, not rounded.

    Args:
        num_in: length of the axis before.
        num_out: length after.

    Returns:
        Rows, columns and values of the entries; those at one place are to be added.
    """
    index, weights = _contributions(num_in, num_out, num_out / num_in, "symmetric")
    return np.repeat(np.arange(num_out), index.shape[1]), index.ravel(), weights.ravel()


def _passes(
    image: Tensor, scale: float | None, size: tuple[int, int] | None
) -> list[tuple[Literal[-2, -1], int, float]]:
    """(axis, output length, factor) of the passes to make, in MATLAB's order; an axis that stays is left out."""
    height, width = image.shape[-2:]
    if min(image.shape[-2:]) < 1:
        raise ValueError(f"cannot resize an image without pixels, got {tuple(image.shape)}")
    if (scale is None) == (size is None):
        raise ValueError(f"give either scale or size, got scale={scale} and size={size}")
    if scale is not None:
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale={scale} must be a positive number")
        size = (_scaled(height, scale), _scaled(width, scale))
        factors = (scale, scale)
    else:
        assert size is not None
        if min(size) < 1:
            raise ValueError(f"size={size} must be at least one pixel each way")
        factors = (size[0] / height, size[1] / width)
    passes: list[tuple[Literal[-2, -1], int, float]] = [(-2, size[0], factors[0]), (-1, size[1], factors[1])]
    passes.sort(key=lambda item: item[2])
    return [item for item in passes if item[2] != 1]


def _scaled(length: int, scale: float) -> int:
    """Length of the output; 1e-9 keeps an inexact ``1 / scale`` from adding a pixel."""
    return length * int(scale) if scale == int(scale) else math.ceil(length * scale - 1e-9)


def _is_reduced(device: torch.device) -> bool:
    """Whether float32 matrix products are at present computed in a narrower format on this device."""
    if torch.is_autocast_enabled(device.type):
        return True
    if device.type == "cuda":
        return torch.backends.cuda.matmul.fp32_precision not in ("none", "ieee")
    if device.type == "cpu":
        return torch.backends.mkldnn.matmul.fp32_precision not in ("none", "ieee")  # type: ignore[attr-defined]
    return False


def _cubic(x: FloatArray) -> FloatArray:
    """Keys' cubic convolution kernel with a = -0.5 (IEEE Trans. ASSP 29, 1981, equation 15)."""
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def _contributions(num_in: int, num_out: int, factor: float, border: str) -> tuple[IndexArray, FloatArray]:
    """Input pixels and weights of each output pixel, both (num_out, taps); MATLAB's function of that name."""
    shrink = min(factor, 1.0)
    width = 4.0 / shrink
    centre = (np.arange(num_out) + 0.5) / factor - 0.5
    left = np.floor(centre + 1 - width / 2).astype(np.int64) - 1
    index = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = shrink * _cubic(shrink * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    if border == "symmetric":
        index = index % (2 * num_in)
        return np.minimum(index, 2 * num_in - 1 - index), weights
    return index.clip(0, num_in - 1), weights


def _as_integers(weights: FloatArray, factor: float) -> tuple[FloatArray, float] | None:
    """The weights as integers over a common denominator, if their sums with 8-bit values are exact in float32.

    For a factor of n or 1/n every weight is a multiple of 1 / (16 n^4). All partial sums are integers below 2^24, and
    the quotient of sum and denominator, if no tie, is further from one than float32 can lose in division and addition.
    """
    ratio = max(factor, 1 / factor)
    if ratio != round(ratio):
        return None
    numerators = weights * 16 * ratio**4
    integers = np.rint(numerators)
    if np.abs(numerators - integers).max() > 1e-4:
        return None
    divisor = math.gcd(16 * round(ratio) ** 4, int(np.gcd.reduce(integers.astype(np.int64), axis=None)))
    denominator = 16 * round(ratio) ** 4 // divisor
    integers /= divisor
    if denominator > 2**14 or np.abs(integers).sum(axis=1).max() * 255 >= 2**24:
        return None
    if denominator & (denominator - 1) == 0:
        return integers / denominator, 1.0  # a division by a power of two is exact, so it can be done beforehand
    return integers, float(denominator)


@lru_cache(maxsize=256)
def band_of(
    num_in: int, num_out: int, factor: float, border: str, exact: bool, dtype: torch.dtype, device: torch.device
) -> _Band:
    """The matrix of one axis, cut into blocks; ``exact`` asks for integer weights, or float64 where there are none."""
    index, weights = _contributions(num_in, num_out, factor, border)
    divisor = 1.0
    if exact:
        integers = _as_integers(weights, factor)
        if integers is None:
            dtype = torch.float64
        else:
            weights, divisor = integers
    row = np.repeat(np.arange(num_out), index.shape[1])
    column, value = index.ravel(), weights.ravel()
    row, column, value = row[value != 0], column[value != 0], value[value != 0]
    step = 16 if device.type == "cpu" else 128
    ratio = num_out / num_in
    forward = cut_rows(row, column, value, num_out, round(step * max(ratio, 1)), dtype, device)
    order = np.argsort(column, kind="stable")
    row, column, value = row[order], column[order], value[order]
    backward = cut_rows(column, row, value, num_in, round(step * max(1 / ratio, 1)), dtype, device)
    return _Band(blocks=forward, transposed=backward, divisor=divisor)


def _passed(image: Tensor, axis: int, num_in: int, num_out: int, factor: float, border: str) -> Tensor:
    """One pass over float images; at once where nobody differentiates, traces or compiles.

    The first call of an operation of our own imports PyTorch's compiler, which takes seconds.
    """
    watched = (
        type(image) is not Tensor
        or image.is_meta
        or (image.requires_grad and torch.is_grad_enabled())
        or torch._C._get_tracing_state() is not None
        or torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
    )
    return (_resample if watched else _product)(image, axis, num_in, num_out, factor, border, False)


def _product(
    image: Tensor, axis: int, num_in: int, num_out: int, factor: float, border: str, transposed: bool
) -> Tensor:
    dtype = torch.float64 if _is_reduced(image.device) else image.dtype
    band = band_of(num_in, num_out, factor, border, False, dtype, image.device)
    return multiply(image.to(dtype), band.transposed if transposed else band.blocks, axis).to(image.dtype)


@torch.library.custom_op("sr_lab::resample", mutates_args=())
def _resample(
    image: Tensor, axis: int, num_in: int, num_out: int, factor: float, border: str, transposed: bool
) -> Tensor:
    """One pass over float images, or (``transposed``) its gradient; one opaque operation for compilers and export."""
    return _product(image, axis, num_in, num_out, factor, border, transposed)


@_resample.register_fake
def _(image: Tensor, axis: int, num_in: int, num_out: int, factor: float, border: str, transposed: bool) -> Tensor:
    shape = list(image.shape)
    shape[axis] = num_in if transposed else num_out
    return image.new_empty(shape)


def _keep_arguments(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.arguments = inputs[1:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    *arguments, transposed = ctx.arguments
    return (_resample(gradient, *arguments, not transposed), *[None] * 6)


_resample.register_autograd(_backward, setup_context=_keep_arguments)
