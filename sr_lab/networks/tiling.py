"""Restoring an image in overlapping tiles, so that memory does not grow with the image."""

import torch
from torch import Tensor, nn


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of the tiles that cover ``length`` pixels; the last tile is moved inward to stay whole."""
    if length <= tile:
        return [0]
    starts = list(range(0, length - tile, tile - overlap))
    return [*starts, length - tile]


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
    hides the seams.

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
    if tile < 1 or not 0 <= 2 * overlap < tile:
        raise ValueError(f"overlap={overlap} must be at least 0 and below half of tile={tile}")
    height, width = low.shape[-2:]
    if height <= tile and width <= tile:
        whole: Tensor = network(low)
        return whole
    scale = int(network.scale)  # type: ignore[arg-type]
    batch, channels = low.shape[:2]
    total = low.new_zeros(batch, channels, height * scale, width * scale)
    weight = low.new_zeros(1, 1, height * scale, width * scale)
    for top in tile_starts(height, tile, overlap):
        for left in tile_starts(width, tile, overlap):
            piece = low[..., top : top + tile, left : left + tile]
            restored = network(piece).to(total.dtype)
            tall, wide = restored.shape[-2:]
            rows = _window(tall, top * scale, height * scale, overlap * scale, like=total)
            columns = _window(wide, left * scale, width * scale, overlap * scale, like=total)
            window = rows[:, None] * columns[None, :]
            area = (..., slice(top * scale, top * scale + tall), slice(left * scale, left * scale + wide))
            total[area] += restored * window
            weight[area] += window
    return total / weight
