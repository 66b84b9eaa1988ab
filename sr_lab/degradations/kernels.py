"""Blur kernels as functions of their parameters, for a whole batch at once, on any device.

Every function takes parameters (B,) and an odd ``size``, and gives (B, size, size) that sums to 1. The first axis of a
kernel is y (downwards), the second x; angles are in radians, from x towards y.
"""

import math

import torch
from torch import Tensor


def squared_distance(size: int, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor) -> Tensor:
    """``r^T S^-1 r`` at every position r, with S the covariance of axes sigma_x, sigma_y turned by theta.

    Returns:
        (B, size, size), dtype and device of ``sigma_x``.
    """
    x, y = _grid(size, sigma_x)
    cos, sin = _column(theta.cos()), _column(theta.sin())
    along = (x * cos + y * sin) / _column(sigma_x)
    across = (y * cos - x * sin) / _column(sigma_y)
    return along * along + across * across


def gaussian(size: int, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor) -> Tensor:
    """Gaussian, ``exp(-q / 2)`` with q of :func:`squared_distance`; isotropic where the sigmas are equal."""
    return _normalised((squared_distance(size, sigma_x, sigma_y, theta) * -0.5).exp())


def generalised(size: int, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, beta: Tensor) -> Tensor:
    """Generalised Gaussian, ``exp(-q^beta / 2)`` (Liu et al., IEEE TIP 2020): beta below 1 has long tails."""
    return _normalised((squared_distance(size, sigma_x, sigma_y, theta).pow(_column(beta)) * -0.5).exp())


def plateau(size: int, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, beta: Tensor) -> Tensor:
    """Plateau-shaped, ``1 / (1 + q^beta)`` (Real-ESRGAN, section 3.2)."""
    return _normalised(1 / (squared_distance(size, sigma_x, sigma_y, theta).pow(_column(beta)) + 1))


def sinc(size: int, cutoff: Tensor) -> Tensor:
    """Ideal circular low-pass filter cut off at ``cutoff`` radians a pixel: ringing and overshoot.

    ``cutoff J1(cutoff r) / (2 pi r)``, ``cutoff^2 / (4 pi)`` at the centre (Real-ESRGAN, equation 7).
    """
    x, y = _grid(size, cutoff)
    radius = (x * x + y * y).sqrt()
    edge = _column(cutoff)
    centre = edge * edge / (4 * math.pi)
    rest = edge * torch.special.bessel_j1(edge * radius) / (2 * math.pi * radius.clamp(min=1))
    return _normalised(torch.where(radius == 0, centre, rest))


def motion(size: int, length: Tensor, theta: Tensor) -> Tensor:
    """Uniform motion along a centred straight line of ``length`` pixels, one pixel wide, antialiased."""
    x, y = _grid(size, length)
    cos, sin = _column(theta.cos()), _column(theta.sin())
    along, across = (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
    return _normalised((_column(length) / 2 + 0.5 - along).clamp(0, 1) * (1 - across).clamp(min=0))


def defocus(size: int, radius: Tensor) -> Tensor:
    """Disc of ``radius`` pixels with an antialiased rim: the blur circle of a lens out of focus."""
    x, y = _grid(size, radius)
    return _normalised((_column(radius) + 0.5 - (x * x + y * y).sqrt()).clamp(0, 1))


def _grid(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size={size}: a kernel needs an odd size, so that it has a centre")
    ax = torch.arange(size, device=like.device, dtype=like.dtype) - size // 2
    return ax[None, None, :], ax[None, :, None]


def _column(values: Tensor) -> Tensor:
    return values[:, None, None]


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum(dim=(1, 2), keepdim=True)
