"""Restoring an image in overlapping tiles, so that memory does not grow with the image."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sr_lab.networks.base import GenerativeNetwork


def tile_starts(length: int, tile: int, overlap: int, stride: int = 1) -> list[int]:
    """Starts of the tiles that cover ``length`` pixels, multiples of ``stride``.

    Neighbours share at least ``overlap`` pixels; the last tile is moved inward, and lacks up to ``stride - 1`` pixels.
    """
    if length <= tile:
        return [0]
    step = max(1, (tile - overlap) // stride) * stride
    return [*range(0, length - tile, step), -(-(length - tile) // stride) * stride]


def _window(length: int, start: int, total: int, overlap: int, *, like: Tensor) -> Tensor:
    """Weights of one tile along one axis: linear ramps where a neighbour overlaps, 1 elsewhere."""
    window = torch.ones(length, device=like.device, dtype=like.dtype)
    ramp = torch.arange(1, overlap + 1, device=like.device, dtype=like.dtype) / (overlap + 1)
    if start > 0:
        window[:overlap] = ramp
    if start + length < total:
        window[length - overlap :] = ramp.flip(0)
    return window


def restore_tiled(network: nn.Module, low: Tensor, *, tile: int = 256, overlap: int = 16) -> Tensor:
    """Applies ``network`` to overlapping tiles and blends them linearly.

    An image that fits into one tile takes one plain call. Where ``overlap`` is at least twice the
    network's receptive radius the centres of all tiles equal the untiled result; below that the blend
    hides the seams. A generative network tiles by itself, each of its steps.

    Args:
        network: with attribute ``scale``; maps (B, C, h, w) to (B, C, h * scale, w * scale).
        low: (B, C, H, W), values in [0, 1].
        tile: side of a tile in low-resolution pixels.
        overlap: shared low-resolution pixels of neighbouring tiles.

    Returns:
        (B, C, H * scale, W * scale).

    Raises:
        ValueError: if ``overlap`` is not below half of ``tile``.
    """
    if isinstance(network, GenerativeNetwork):
        return network.sample(low, seeds=[0], tile=tile, overlap=overlap)
    stride = getattr(network, "stride", 1)
    return apply_tiled(network, low, scale=int(network.scale), tile=tile, overlap=overlap, stride=stride)  # type: ignore[arg-type]


def apply_tiled(
    restore: Callable[..., Tensor],
    low: Tensor,
    *images: Tensor,
    scale: int,
    tile: int,
    overlap: int,
    stride: int = 1,
) -> Tensor:
    """``restore(low, *images)`` by tiles; see ``restore_tiled``.

    Args:
        restore: gets a tile of ``low`` and the same part of each image; returns (B, C, h * scale, w * scale).
        low: (B, C, H, W).
        images: what else is cut along, each (B, C', H * scale, W * scale).
        scale: enlargement factor.
        tile: see ``restore_tiled``.
        overlap: see ``restore_tiled``.
        stride: see ``Network``.
    """
    if tile < 1 or not 0 <= 2 * overlap < tile:
        raise ValueError(f"overlap={overlap} must be at least 0 and below half of tile={tile}")
    if tile - overlap < stride:
        raise ValueError(f"tile={tile} less overlap={overlap} must be at least the network's stride of {stride} pixels")
    height, width = low.shape[-2:]
    if height <= tile and width <= tile:
        return restore(low, *images)
    batch, channels = low.shape[:2]
    total = low.new_zeros(batch, channels, height * scale, width * scale)
    weight = low.new_zeros(1, 1, height * scale, width * scale)
    for top in tile_starts(height, tile, overlap, stride):
        for left in tile_starts(width, tile, overlap, stride):
            piece = low[..., top : top + tile, left : left + tile]
            area = (
                ...,
                slice(top * scale, (top + piece.shape[-2]) * scale),
                slice(left * scale, (left + piece.shape[-1]) * scale),
            )
            restored = restore(piece, *(image[area] for image in images)).to(total.dtype)
            tall, wide = restored.shape[-2:]
            rows = _window(tall, top * scale, height * scale, overlap * scale, like=total)
            columns = _window(wide, left * scale, width * scale, overlap * scale, like=total)
            window = rows[:, None] * columns[None, :]
            total[area] += restored * window
            weight[area] += window
    return total / weight
